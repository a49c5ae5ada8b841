// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// ParseSave reads what iptables-save or ip6tables-save prints, with or without -c. Options that it does not know make
// a rule undecided, never wrong. Errors name the line and wrap ErrGarbled.
func ParseSave(r io.Reader, system System, f Family) (*Ruleset, error) {
	rs := &Ruleset{}
	var t *Table
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(scan.Text())
		ok := true
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			t = &Table{System: system, Family: f, Name: line[1:], judged: true}
			rs.Tables = append(rs.Tables, t)
		case t == nil:
			ok = false
		case line[0] == ':':
			ok = t.saveChain(strings.Fields(line[1:]))
		default:
			ok = t.saveRule(line)
		}
		if !ok {
			return nil, fmt.Errorf("line %d: %w: %q", n, ErrGarbled, line)
		}
	}
	return rs, scan.Err()
}

// saveChain reads NAME POLICY [packets:bytes].
func (t *Table) saveChain(words []string) bool {
	if len(words) < 2 {
		return false
	}
	c := t.add(words[0])
	for h := Prerouting; h <= Postrouting; h++ {
		if legacyHookName(h) == c.Name && words[1] != "-" {
			c.Hook, c.Type, c.Priority = h, "filter", legacyPriority(t.Name, h)
			c.Policy = plainTarget(words[1])
		}
	}
	if len(words) > 2 {
		c.Counter, _ = saveCounter(words[2])
	}
	return true
}

// saveCounter reads [packets:bytes].
func saveCounter(s string) (Counter, bool) {
	packets, bytes, ok := strings.Cut(strings.Trim(s, "[]"), ":")
	p, err1 := strconv.ParseUint(packets, 10, 64)
	b, err2 := strconv.ParseUint(bytes, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Counter{}, false
	}
	return Counter{Packets: p, Bytes: b, Counted: true}, true
}

// plainTarget is a target without options.
func plainTarget(name string) Verdict {
	switch name {
	case "DROP":
		return Verdict{Action: Drop, Target: name}
	case "ACCEPT":
		return Verdict{Action: Accept, Target: name}
	case "RETURN":
		return Verdict{Action: Return, Target: name}
	case "QUEUE":
		return Verdict{Action: Elsewhere, Target: name}
	}
	return Verdict{Target: name}
}

func (t *Table) saveRule(line string) bool {
	p := saveParser{family: t.Family, words: saveWords(line)}
	if len(p.words) > 0 && strings.HasPrefix(p.words[0], "[") {
		counter, ok := saveCounter(p.words[0])
		if !ok {
			return false
		}
		p.rule.Counter = counter
		p.words = p.words[1:]
	}
	if len(p.words) < 2 || p.words[0] != "-A" {
		return false
	}
	c := t.add(p.words[1])
	p.words = p.words[2:]
	for len(p.words) > 0 {
		if !p.option(t) {
			return false
		}
	}
	p.endModule()
	p.rule.Number = len(c.Rules) + 1
	c.Rules = append(c.Rules, p.rule)
	return true
}

// saveWords splits a line as a shell would: double quotes, and backslashes in them.
func saveWords(line string) []string {
	var words []string
	var word strings.Builder
	quoted, any := false, false
	for i := 0; i < len(line); i++ {
		switch b := line[i]; {
		case b == '"':
			quoted, any = !quoted, true
		case b == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case b == ' ' && !quoted:
			if any || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteByte(b)
		}
	}
	if any || word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}

// saveParser is one rule while it is read.
type saveParser struct {
	family Family
	words  []string
	module string
	used   bool // the module has said something
	rule   Rule
}

// next takes a word; an empty one if there is none.
func (p *saveParser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *saveParser) add(m Match) {
	p.rule.Matches = append(p.rule.Matches, m)
	p.used = true
}

func (p *saveParser) endModule() {
	if p.module != "" && !p.used {
		p.rule.Matches = append(p.rule.Matches, Match{Field: Always, Module: p.module})
	}
}

func (p *saveParser) option(t *Table) bool {
	invert := p.words[0] == "!"
	if invert {
		p.next()
	}
	option := p.next()
	switch option {
	case "-m":
		p.endModule()
		p.module, p.used = p.next(), false
		return true
	case "-j", "-g":
		p.rule.Verdict = p.target(t, option == "-g")
		return true
	}
	m, ok := p.value(option)
	m.Invert = invert
	if ok {
		p.add(m)
	}
	return ok
}

// value reads the option's value; options of modules that are not known keep their words.
func (p *saveParser) value(option string) (Match, bool) {
	m := Match{Module: p.module}
	switch option {
	case "-s", "-d":
		return saveAddr(map[string]Field{"-s": SrcAddr, "-d": DstAddr}[option], p.next())
	case "-i", "-o":
		return saveDevice(map[string]Field{"-i": InName, "-o": OutName}[option], p.next())
	case "-p":
		n := protoNumber(p.next())
		return Match{Field: Proto, Width: 1, Values: []byte{n, n}}, true
	case "-f":
		return Match{Field: Fragment}, true
	case "--sport", "--sports", "--dport", "--dports", "--ports":
		return savePorts(m, option, p.next())
	case "--tcp-flags":
		mask, want := saveFlags(p.next()), saveFlags(p.next())
		m.Field, m.Width, m.Mask, m.Values = TCPFlags, 1, []byte{mask}, []byte{want, want}
		return m, true
	case "--ctstate", "--state":
		invert := saveStates(p.next())
		s := stateMatch(invert, false)
		s.Module = p.module
		return s, true
	case "--mark":
		return saveMark(m, p.next())
	case "--comment":
		m.Field, m.Text = Comment, p.next()
		return m, true
	}
	words := []string{option}
	for len(p.words) > 0 && p.words[0] != "!" && !strings.HasPrefix(p.words[0], "-") {
		words = append(words, p.next())
	}
	m.Field, m.Text = Other, strings.Join(words, " ")
	if option == "--icmp-type" || option == "--icmpv6-type" {
		if n, err := strconv.ParseUint(words[len(words)-1], 10, 8); err == nil {
			m.Field, m.Text, m.Width, m.Values = ICMPType, "", 1, []byte{byte(n), byte(n)}
		}
	}
	return m, true
}

func saveAddr(f Field, s string) (Match, bool) {
	addr, bits, _ := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return Match{}, false
	}
	mask := []byte(strings.Repeat("\xff", a.BitLen()/8))
	if m, err := netip.ParseAddr(bits); err == nil && m.BitLen() == a.BitLen() {
		mask = m.AsSlice()
	} else if n, err := strconv.Atoi(bits); err == nil && n >= 0 && n <= a.BitLen() {
		for i := range mask {
			mask[i] = byte(uint32(0xff00) >> min(max(n-8*i, 0), 8))
		}
	}
	m := addrMatch(f, a.AsSlice(), mask, false)
	if len(m) == 0 {
		return Match{Field: Always}, true
	}
	return m[0], true
}

func saveDevice(f Field, name string) (Match, bool) {
	if name == "" || len(name) > 15 {
		return Match{}, false
	}
	v := append([]byte(name), 0)
	if strings.HasSuffix(name, "+") {
		v = []byte(name[:len(name)-1])
	}
	if len(v) == 0 {
		return Match{Field: Always}, true
	}
	return Match{Field: f, Width: uint8(len(v)), Values: append(v[:len(v):len(v)], v...)}, true
}

func savePorts(m Match, option, s string) (Match, bool) {
	m.Field = map[byte]Field{'s': SrcPort, 'd': DstPort, 'p': EitherPort}[option[2]]
	m.Width = 2
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, ":")
		lo, err1 := strconv.ParseUint(from, 10, 16)
		hi, err2 := lo, error(nil)
		if isRange {
			hi, err2 = strconv.ParseUint(to, 10, 16)
		}
		if err1 != nil || err2 != nil {
			return m, false
		}
		m.Values = binary.BigEndian.AppendUint16(m.Values, uint16(lo))
		m.Values = binary.BigEndian.AppendUint16(m.Values, uint16(hi))
	}
	return m, true
}

func saveFlags(s string) (flags uint8) {
	for i, name := range strings.Split("FIN,SYN,RST,PSH,ACK,URG", ",") {
		for part := range strings.SplitSeq(s, ",") {
			if part == name {
				flags |= 1 << i
			}
		}
	}
	return flags
}

func saveStates(s string) (bits uint32) {
	names := map[string]uint32{"INVALID": StateInvalid, "NEW": StateNew, "RELATED": StateRelated, "ESTABLISHED": StateEstablished,
		"UNTRACKED": 1 << 8, "SNAT": 1 << 6, "DNAT": 1 << 7}
	for part := range strings.SplitSeq(s, ",") {
		bits |= names[part]
	}
	return bits
}

func saveMark(m Match, s string) (Match, bool) {
	value, mask, masked := strings.Cut(s, "/")
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return m, false
	}
	v := binary.BigEndian.AppendUint32(nil, uint32(n))
	m.Field, m.Width, m.Values = Mark, 4, append(v, v...)
	if masked {
		bits, err := strconv.ParseUint(mask, 0, 32)
		if err != nil {
			return m, false
		}
		m.Mask = binary.BigEndian.AppendUint32(nil, uint32(bits))
	}
	return m, true
}

// target reads the rest of the line.
func (p *saveParser) target(t *Table, isGoto bool) Verdict {
	name := p.next()
	words := []string{name}
	answer, to, ports, zone := "", "", Ports{}, Zone{}
	for len(p.words) > 0 {
		w := p.next()
		if prev := words[len(words)-1]; prev == "--reject-with" {
			answer = w
		} else if prev == "--to-destination" {
			to = w
		} else if prev == "--to-ports" || prev == "--to-source" {
			ports = savedPorts(w)
		} else if n, err := strconv.ParseUint(w, 10, 16); prev == "--zone" && err == nil {
			zone = Zone{true, uint16(n)}
		}
		if strings.ContainsAny(w, " \"'\\") {
			w = quoteSave(w)
		}
		words = append(words, w)
	}
	v := xtTarget(p.family, name, 0, nil)
	switch plain := plainTarget(name); {
	case plain.Action != Next:
		v = plain
	case v.Action == Reject:
		v.Answer = answer
	case t.Chain(name) != nil: // the text names chains before rules
		v = Verdict{Action: Jump, Chain: name}
		if isGoto {
			v.Action = Goto
		}
	}
	v.Target, v.DNAT, v.Ports, v.Zone = strings.Join(words, " "), to, ports, zone
	return v
}

// savedPorts are those at the end of what NAT changes to: [ADDR[-ADDR]:]PORT[-PORT].
func savedPorts(s string) (p Ports) {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		s = s[i+1:]
	}
	lo, hi, isRange := strings.Cut(s, "-")
	if !isRange {
		hi = lo
	}
	from, err := strconv.ParseUint(lo, 10, 16)
	to, err2 := strconv.ParseUint(hi, 10, 16)
	if err != nil || err2 != nil {
		return p // addresses alone
	}
	return Ports{uint16(from), uint16(to)}
}
