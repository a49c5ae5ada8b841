// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// machine runs the expressions of a rule without a packet: registers hold what they would be loaded from.
type machine struct {
	table *Table
	rule  *Rule
	regs  [20]register // 16 of four bytes, as the kernel has, and room for a name that begins in the last
}

// register is what a register was loaded with.
type register struct {
	set   bool
	field Field
	text  string // how nft calls it
	host  bool   // kept in the order of the CPU, so constants are, too
	size  int    // bytes
	mask  []byte
	value []byte // a constant
}

// slot turns the number of a register, old style (16 bytes) or new (4 bytes), into an index.
func slot(n uint32) int {
	switch {
	case n >= 1 && n <= 4:
		return int(n-1) * 4
	case n >= 8 && n < 24:
		return int(n - 8)
	}
	return 19
}

const verdictRegister = 0

func (m *machine) load(reg uint32, r register) {
	r.set = true
	m.regs[slot(reg)] = r
}

func (m *machine) reg(n uint32) *register { return &m.regs[slot(n)] }

func (m *machine) match(x Match) { m.rule.Matches = append(m.rule.Matches, x) }

// say adds words that nft prints but that decide nothing.
func (m *machine) say(text string) { m.match(Match{Field: Always, Text: text}) }

// expressions is what each expression does, by its name. Those that only do something have a word.
func expressions() map[string]func(*machine, []byte) {
	return map[string]func(*machine, []byte){
		"payload": (*machine).payload, "meta": (*machine).meta, "ct": (*machine).ct, "cmp": (*machine).cmp,
		"range": (*machine).inRange, "bitwise": (*machine).bitwise, "byteorder": (*machine).byteorder,
		"lookup": (*machine).lookup, "immediate": (*machine).immediate, "counter": (*machine).counter,
		"reject": (*machine).reject, "nat": (*machine).nat, "log": (*machine).log, "limit": (*machine).limit,
		"match": (*machine).xtMatch, "target": (*machine).xtTarget, "fib": (*machine).fib, "numgen": (*machine).numgen,
		"dynset": (*machine).dynset,
		"masq":   (*machine).masquerade, "redir": redirect, "queue": elsewhere("queue"),
		"tproxy": elsewhere("tproxy"), "fwd": elsewhere("fwd"),
		"notrack": plain(untrackStatement), "objref": plain("objref"), "last": plain("last"), "dup": plain("dup"),
		"rt": opaque("rt"), "socket": opaque("socket"), "exthdr": opaque("exthdr"), "hash": opaque("hash"), "osf": opaque("osf"),
	}
}

// plain is a statement that only does something.
func plain(text string) func(*machine, []byte) {
	return func(m *machine, _ []byte) { m.say(text) }
}

// elsewhere is a statement that decides, but not to drop.
func elsewhere(text string) func(*machine, []byte) {
	return func(m *machine, _ []byte) { m.rule.Verdict = Verdict{Action: Elsewhere, Target: text} }
}

func redirect(m *machine, _ []byte) {
	m.rule.Verdict = Verdict{Action: Elsewhere, Target: "redirect", NewDst: true}
}

// opaque loads something that headers do not have. Destination registers are the first attribute of all of them.
func opaque(text string) func(*machine, []byte) {
	return func(m *machine, b []byte) { m.load(be32(attrMap(b)[1]), register{field: Other, text: text}) }
}

func (m *machine) payload(b []byte) {
	const dreg, base, offset, length = 1, 2, 3, 4
	a := attrMap(b)
	if a[dreg] == nil { // it writes to the packet
		m.say("payload set")
		return
	}
	r := register{size: int(be32(a[length]))}
	r.field, r.text = m.payloadField(be32(a[base]), int(be32(a[offset])), r.size)
	m.load(be32(a[dreg]), r)
}

// payloadField names the header's field at an offset. A part of it that begins where it begins is the field, too:
// that is how prefixes of whole bytes are matched.
func (m *machine) payloadField(base uint32, offset, size int) (Field, string) {
	family := m.family()
	type place struct {
		base         uint32
		family       Family
		offset, size int
	}
	for _, c := range []struct {
		at    place
		field Field
		text  string
	}{
		{place{1, IPv4, 12, 4}, SrcAddr, "ip saddr"}, {place{1, IPv4, 16, 4}, DstAddr, "ip daddr"},
		{place{1, IPv6, 8, 16}, SrcAddr, "ip6 saddr"}, {place{1, IPv6, 24, 16}, DstAddr, "ip6 daddr"},
		{place{1, IPv4, 9, 1}, Proto, "ip protocol"}, {place{1, IPv6, 6, 1}, Proto, "ip6 nexthdr"},
		{place{1, IPv4, 6, 2}, Fragment, "ip frag-off"}, {place{1, IPv4, 2, 2}, Length, "ip length"}, {place{1, IPv4, 8, 1}, TTL, "ip ttl"}, {place{1, IPv6, 7, 1}, TTL, "ip6 hoplimit"},
		{place{2, 0, 0, 2}, SrcPort, "sport"}, {place{2, 0, 2, 2}, DstPort, "dport"},
		{place{2, 0, 13, 1}, TCPFlags, "tcp flags"}, {place{0, 0, 12, 2}, EtherType, "ether type"},
	} {
		p := c.at
		if p.base != base || p.offset != offset || size > p.size || (p.family != 0 && p.family != family) {
			continue
		}
		if field, text := m.transport(c.field, c.text); size == p.size || field == SrcAddr || field == DstAddr {
			return field, text
		}
	}
	proto := m.eq(Proto)
	if base == 2 && size == 1 && offset < 2 && len(proto) > 0 && (proto[0] == protoICMP || proto[0] == protoICMPv6) {
		kind := map[byte]string{protoICMP: "icmp ", protoICMPv6: "icmpv6 "}[proto[0]]
		return ICMPType + Field(offset), kind + []string{"type", "code"}[offset]
	}
	return Other, fmt.Sprintf("@%s,%d,%d", map[uint32]string{0: "ll", 1: "nh", 2: "th", 3: "ih"}[base], offset*8, size*8)
}

// transport names a port by the protocol that the rule asked for before.
func (m *machine) transport(f Field, text string) (Field, string) {
	if f != SrcPort && f != DstPort {
		return f, text
	}
	if p := m.eq(Proto); len(p) > 0 {
		return f, protoText(p[0]) + " " + text
	}
	return f, "th " + text
}

// eq is the single value that the rule already asked of a field.
func (m *machine) eq(f Field) []byte {
	for _, x := range m.rule.Matches {
		if x.Field == f && !x.Invert && x.Set == nil && len(x.Values) == 2*int(x.Width) {
			return x.Values[:x.Width]
		}
	}
	return nil
}

// family is that of the packets that get here: in a table for several, what the rule asked for.
func (m *machine) family() Family {
	if f := m.table.Family; f == IPv4 || f == IPv6 {
		return f
	}
	if v := m.eq(NFProto); len(v) > 0 {
		return Family(v[0])
	}
	if v := m.eq(EtherType); len(v) == 2 {
		return map[uint16]Family{0x0800: IPv4, 0x86dd: IPv6}[binary.BigEndian.Uint16(v)]
	}
	return 0
}

// metaKeys are the enum nft_meta_keys that headers or the place have.
func metaKey(key uint32) register {
	keys := [...]register{
		1:  {field: EtherType, text: "meta protocol", size: 2},
		3:  {field: Mark, text: "meta mark", size: 4, host: true},
		6:  {field: InName, text: "iifname", size: 16},
		7:  {field: OutName, text: "oifname", size: 16},
		15: {field: NFProto, text: "meta nfproto", size: 1},
		16: {field: Proto, text: "meta l4proto", size: 1},
		// What only names itself:
		0:  {text: "meta length", size: 4, host: true},
		4:  {text: "iif", size: 4, host: true},
		5:  {text: "oif", size: 4, host: true},
		10: {text: "meta skuid", size: 4, host: true},
		11: {text: "meta skgid", size: 4, host: true},
		17: {text: "meta ibrname", size: 16},
		18: {text: "meta obrname", size: 16},
		19: {text: "meta pkttype", size: 1},
		20: {text: "meta cpu", size: 4, host: true},
		24: {text: "meta random", size: 4, host: true},
	}
	if int(key) < len(keys) && keys[key].text != "" {
		return keys[key]
	}
	return register{text: fmt.Sprintf("meta %s", unknown(uint64(key)))}
}

func (m *machine) meta(b []byte) {
	const dreg, key, sreg = 1, 2, 3
	a := attrMap(b)
	if a[dreg] == nil {
		r := metaKey(be32(a[key]))
		if src := m.reg(be32(a[sreg])); len(src.value) == 4 && r.host {
			m.say(fmt.Sprintf("%s set 0x%08x", r.text, native.Uint32(src.value)))
			return
		}
		m.say(r.text + " set ...")
		return
	}
	m.load(be32(a[dreg]), metaKey(be32(a[key])))
}

func (m *machine) ct(b []byte) {
	const dreg, key, direction, sreg = 1, 2, 3, 4
	const zoneKey = 17 // NFT_CT_ZONE
	a := attrMap(b)
	keys := [...]register{
		0: {field: CTState, text: "ct state", size: 4, host: true},
		1: {text: "ct direction", size: 1},
		2: {text: "ct status", size: 4, host: true},
		3: {text: "ct mark", size: 4, host: true},
	}
	k := be32(a[key])
	r := register{text: "ct " + unknown(uint64(k))}
	if int(k) < len(keys) {
		r = keys[k]
	}
	switch v := m.constant(a[sreg]); {
	case a[dreg] != nil:
		m.load(be32(a[dreg]), r)
	case k == zoneKey && len(v) >= 2:
		id := native.Uint16(v)
		m.say(fmt.Sprintf("ct zone set %d", id))
		m.rule.Zone = Zone{a[direction] == nil, id}
	default:
		m.say(r.text + " set ...")
	}
}

func (m *machine) fib(b []byte) {
	const dreg, result, flags = 1, 2, 3
	a := attrMap(b)
	var words []string
	for i, w := range []string{"saddr", "daddr", "mark", "iif", "oif"} {
		if be32(a[flags])&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	what := map[uint32]string{1: "oif", 2: "oifname", 3: "type"}[be32(a[result])]
	m.load(be32(a[dreg]), register{text: "fib " + strings.Join(words, " . ") + " " + what, size: 4, host: what == "type"})
}

func (m *machine) numgen(b []byte) {
	const dreg, modulus, kind = 1, 2, 3
	a := attrMap(b)
	how := map[uint32]string{0: "inc", 1: "random"}[be32(a[kind])]
	m.load(be32(a[dreg]), register{text: fmt.Sprintf("numgen %s mod %d", how, be32(a[modulus])), size: 4, host: true})
}

func (m *machine) bitwise(b []byte) {
	const sreg, dreg, length, mask, xor, op = 1, 2, 3, 4, 5, 6
	a := attrMap(b)
	r := *m.reg(be32(a[sreg]))
	value, flip := attrMap(a[mask])[1], attrMap(a[xor])[1]
	if be32(a[op]) != 0 || strings.Trim(string(flip), "\x00") != "" || r.mask != nil {
		r = register{text: r.text + " ...", size: int(be32(a[length]))} // a shift, or more than a mask: not followed
	} else {
		r.mask = r.order(value)
	}
	m.load(be32(a[dreg]), r)
}

// order puts a constant into network order, as values of packets are.
func (r *register) order(v []byte) []byte {
	v = slices.Clone(v)
	if r.host && len(v) == 4 {
		slices.Reverse(v)
	}
	return v
}

func (m *machine) byteorder(b []byte) {
	const sreg, dreg = 1, 2
	a := attrMap(b)
	r := *m.reg(be32(a[sreg]))
	r.host = false
	m.load(be32(a[dreg]), r)
}

// width is how many bytes of the field a constant compares: names end before their padding does.
func (r *register) width(v []byte) uint8 { return uint8(min(len(v), 64)) }

func (m *machine) cmp(b []byte) {
	const sreg, op, data = 1, 2, 3
	a := attrMap(b)
	r := m.reg(be32(a[sreg]))
	v := r.order(attrMap(a[data])[1])
	x := Match{Field: r.field, Text: r.text, Mask: r.mask, Width: r.width(v)}
	zero, ones := make([]byte, len(v)), slices.Repeat([]byte{0xff}, len(v))
	switch be32(a[op]) {
	case 0:
		x.Values = append(slices.Clone(v), v...)
	case 1:
		x.Values, x.Invert = append(slices.Clone(v), v...), true
	case 2: // less
		x.Values, x.Invert = append(slices.Clone(v), ones...), true
	case 3:
		x.Values = append(zero, v...)
	case 4: // more
		x.Values, x.Invert = append(zero, v...), true
	default:
		x.Values = append(slices.Clone(v), ones...)
	}
	// "ct state new" is (state & bits) != 0.
	if x.Field == CTState && x.Mask != nil {
		if !slices.Equal(v, zero) || be32(a[op]) > 1 {
			x.Field = Other
		} else {
			x.Values, x.Mask, x.Invert = append(slices.Clone(x.Mask), x.Mask...), nil, be32(a[op]) == 0
		}
	}
	if len(v) == 0 {
		x.Field = Other
	}
	if be32(a[op]) == 3 && m.closes(&x, ones) {
		return
	}
	m.match(x)
}

// closes makes one range of "not less" and "not more", which is how nft writes ranges for a kernel.
func (m *machine) closes(x *Match, ones []byte) bool {
	n := len(m.rule.Matches)
	if n == 0 || len(x.Values) == 0 {
		return false
	}
	w, last := int(x.Width), &m.rule.Matches[n-1]
	if last.Field != x.Field || last.Text != x.Text || last.Invert || last.Set != nil || last.Width != x.Width ||
		len(last.Values) != 2*w || !slices.Equal(last.Values[w:], ones) || !slices.Equal(last.Mask, x.Mask) {
		return false
	}
	copy(last.Values[w:], x.Values[w:])
	return true
}

func (m *machine) inRange(b []byte) {
	const sreg, op, from, to = 1, 2, 3, 4
	a := attrMap(b)
	r := m.reg(be32(a[sreg]))
	lo, hi := r.order(attrMap(a[from])[1]), r.order(attrMap(a[to])[1])
	x := Match{Field: r.field, Text: r.text, Mask: r.mask, Width: r.width(lo), Invert: be32(a[op]) == 1}
	if len(lo) != len(hi) || len(lo) == 0 {
		x.Field, x.Width = Other, 0
	} else {
		x.Values = append(lo, hi...)
	}
	m.match(x)
}

func (m *machine) lookup(b []byte) {
	const set, sreg, dreg, flags = 1, 2, 3, 5
	a := attrMap(b)
	s := m.table.Sets[cString(a[set])]
	if s == nil {
		s = &Set{Name: cString(a[set]), Table: m.table.Name, Family: m.table.Family}
		m.table.Sets[s.Name] = s
	}
	x := Match{Field: Other, Set: s, Invert: be32(a[flags])&1 != 0}
	for at := slot(be32(a[sreg])); at < len(m.regs) && m.regs[at].set; {
		r := &m.regs[at]
		x.Parts = append(x.Parts, Part{Field: r.field, Text: r.text, Mask: r.mask, Len: max(r.size, 1), Host: r.host})
		at += (max(r.size, 1) + 3) / 4
	}
	switch {
	case a[dreg] == nil:
		m.match(x)
	case be32(a[dreg]) == verdictRegister:
		m.rule.Verdict = Verdict{Action: Lookup, Map: &x}
	default:
		m.match(x) // without an element the rule ends here
		m.load(be32(a[dreg]), register{text: "map"})
	}
	m.forget()
}

// forget empties the registers that a lookup used, so the next key does not run into them.
func (m *machine) forget() {
	for i := range m.regs {
		if m.regs[i].value == nil && m.regs[i].text != "map" {
			m.regs[i] = register{}
		}
	}
}

func (m *machine) immediate(b []byte) {
	const dreg, data = 1, 2
	a := attrMap(b)
	d := attrMap(a[data])
	if be32(a[dreg]) == verdictRegister {
		m.rule.Verdict = nftVerdict(d[2])
		return
	}
	m.load(be32(a[dreg]), register{value: append([]byte{}, d[1]...), size: len(d[1])})
}

func (m *machine) counter(b []byte) {
	m.rule.Counter = nftCounter(b)
	m.match(Match{Field: Always, Module: counterModule})
}

// counterModule marks where among its matches a rule counts.
const counterModule = "counter"

func (m *machine) reject(b []byte) {
	a := attrMap(b)
	kind, code := be32(a[1]), uint32(0)
	if len(a[2]) > 0 {
		code = uint32(a[2][0])
	}
	v := Verdict{Action: Reject}
	switch family := m.family(); {
	case kind == 1:
		v.Answer, v.Target = "tcp-reset", "reject with tcp reset"
	case kind == 2: // for whichever family the packet is of
		words := []string{"no-route", "port-unreachable", "host-unreachable", "admin-prohibited"}
		word := unknown(uint64(code))
		if int(code) < len(words) {
			word = words[code]
		}
		v.Answer, v.Target = "icmpx-"+word, "reject with icmpx "+word
		if word == "port-unreachable" {
			v.Target = "reject"
		}
	case family == IPv6:
		v.Answer, v.Target = unreachable("icmp6-", "icmpv6", code,
			map[uint32]string{0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail", 6: "reject-route"})
	default:
		v.Answer, v.Target = unreachable("icmp-", "icmp", code,
			map[uint32]string{0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 9: "net-prohibited",
				10: "host-prohibited", 13: "admin-prohibited"})
	}
	m.rule.Verdict = v
}

// unreachable names a reject's answer, and how nft writes it: of one family, port unreachable is understood.
func unreachable(prefix, kind string, code uint32, names map[uint32]string) (answer, target string) {
	word, ok := names[code]
	if !ok {
		word = unknown(uint64(code))
	}
	if word == "port-unreachable" {
		return prefix + word, "reject"
	}
	return prefix + word, "reject with " + kind + " " + word
}

func (m *machine) nat(b []byte) {
	const kind, addrMin, addrMax, portMin, portMax = 1, 3, 4, 5, 6
	a := attrMap(b)
	what := []string{"snat", "dnat"}[be32(a[kind])&1]
	where := ""
	if addr, ok := netip.AddrFromSlice(m.constant(a[addrMin])); ok {
		where = bracketed(addr, a[portMin] != nil)
	}
	ports, has := m.ports(a[portMin], a[portMax])
	v := Verdict{Action: Elsewhere, NewDst: what == "dnat", NewSrc: what == "snat", Ports: ports}
	if v.NewDst && has {
		v.DNAT = where + fmt.Sprintf(":%d", ports.Lo)
	} else if v.NewDst {
		v.DNAT = where
	}
	v.Target = strings.TrimSpace(what + " to " + where + ports.text())
	m.rule.Verdict = v
}

// ports are the constants in two registers; ok is false if there are none.
func (m *machine) ports(lo, hi []byte) (p Ports, ok bool) {
	from, to := m.constant(lo), m.constant(hi)
	if len(from) < 2 {
		return p, false
	}
	p = Ports{binary.BigEndian.Uint16(from), binary.BigEndian.Uint16(from)}
	if len(to) >= 2 {
		p.Hi = binary.BigEndian.Uint16(to)
	}
	return p, true
}

// text is how nft writes ports behind an address.
func (p Ports) text() string {
	switch p {
	case Ports{}:
		return ""
	case Ports{p.Lo, p.Lo}:
		return fmt.Sprintf(":%d", p.Lo)
	}
	return fmt.Sprintf(":%d-%d", p.Lo, p.Hi)
}

func (m *machine) masquerade(b []byte) {
	const portMin, portMax = 2, 3
	a := attrMap(b)
	ports, _ := m.ports(a[portMin], a[portMax])
	v := Verdict{Action: Elsewhere, Target: "masquerade", NewSrc: true, Ports: ports}
	if ports != (Ports{}) {
		v.Target += " to " + ports.text()
	}
	m.rule.Verdict = v
}

// constant is what an immediate put into the register that the attribute names.
func (m *machine) constant(attr []byte) []byte {
	if attr == nil {
		return nil
	}
	return m.reg(be32(attr)).value
}

func (m *machine) log(b []byte) {
	text := "log"
	if prefix := cString(attrMap(b)[2]); prefix != "" {
		text += fmt.Sprintf(" prefix %q", prefix)
	}
	m.say(text)
}

func (m *machine) limit(b []byte) {
	const rate, unit, burst, kind, flags = 1, 2, 3, 4, 5
	a := attrMap(b)
	name := map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}[be64(a[unit])]
	over := ""
	if be32(a[flags])&1 != 0 {
		over = "over "
	}
	if m.table.isIptables() && be32(a[kind]) == 0 {
		short := map[string]string{"second": "sec", "minute": "min", "hour": "hour", "day": "day"}[name]
		text := fmt.Sprintf("--limit %d/%s", be64(a[rate]), short)
		if n := be32(a[burst]); n != 5 {
			text += fmt.Sprintf(" --limit-burst %d", n)
		}
		m.match(Match{Field: Other, Module: "limit", Text: text})
		return
	}
	text := fmt.Sprintf("limit rate %s%d/%s", over, be64(a[rate]), name)
	if n := be32(a[burst]); n != 0 && n != 5 {
		text += fmt.Sprintf(" burst %d packets", n)
	}
	m.match(Match{Field: Other, Text: text})
}

// isIptables is whether iptables shows the table.
func (t *Table) isIptables() bool { return t.System == IptablesNFT || t.System == Legacy }

func (m *machine) xtMatch(b []byte) {
	a := attrMap(b)
	for _, x := range xtMatch(m.xtFamily(), cString(a[1]), uint8(be32(a[2])), a[3]) {
		m.match(x)
	}
}

func (m *machine) xtTarget(b []byte) {
	a := attrMap(b)
	m.rule.Verdict = xtTarget(m.xtFamily(), cString(a[1]), uint8(be32(a[2])), a[3])
}

func (m *machine) xtFamily() Family {
	if f := m.family(); f != 0 {
		return f
	}
	return m.table.Family
}

func (m *machine) dynset(b []byte) {
	a := attrMap(b)
	// A set that is full, or an update with a limit, ends the rule: that cannot be decided.
	m.match(Match{Field: Other, Text: "update @" + cString(a[1])})
}

// end gives the verdicts of iptables the names that iptables prints.
func (m *machine) end() {
	if v := &m.rule.Verdict; m.table.isIptables() {
		switch v.Action {
		case Accept, Drop, Return:
			v.Target = strings.ToUpper(v.Target)
		case Jump, Goto:
			v.Target = v.Chain
		}
		x := m.rule.Matches
		for i := range x {
			x[i].module()
			// Whatever their order, iptables prints ports before flags.
			for k := i; k > 0 && x[k].Module == "tcp" && x[k-1].Module == "tcp" && x[k].Field < x[k-1].Field; k-- {
				x[k], x[k-1] = x[k-1], x[k]
			}
		}
	}
}

// module gives a match that iptables-nft wrote in nftables' own words the module that iptables prints it by.
func (m *Match) module() {
	if m.Module != "" {
		return
	}
	switch m.Field {
	case Fragment: // the offset is not zero
		m.Invert, m.Width, m.Values = !m.Invert, 0, nil
	case Mark:
		m.Module = "mark"
	case TCPFlags:
		m.Module = "tcp"
	case SrcPort, DstPort:
		m.Module, _, _ = strings.Cut(m.Text, " ")
	}
}
