// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Text is the rule as the tool of its table prints it: iptables-save without counters, or nft list with the handle.
func (r *Rule) Text(c *Chain) string {
	if c.Table.isIptables() {
		return r.save(c)
	}
	return r.list()
}

// PolicyText is the policy of a chain as its tool prints it.
func (c *Chain) PolicyText() string {
	if c.Table.isIptables() {
		return fmt.Sprintf("-P %s %s", c.Name, c.Policy.Target)
	}
	return fmt.Sprintf("chain %s { type %s hook %s priority %d; policy %s; }", c.Name, c.Type, c.Hook, c.Priority, c.Policy.Action)
}

func (r *Rule) save(c *Chain) string {
	words := []string{"-A", c.Name}
	for _, option := range []struct {
		field Field
		name  string
	}{{SrcAddr, "-s"}, {DstAddr, "-d"}, {InName, "-i"}, {OutName, "-o"}, {Proto, "-p"}, {Fragment, "-f"}} {
		for i := range r.Matches {
			if m := &r.Matches[i]; m.Field == option.field && m.Module == "" {
				words = append(words, m.inverted(option.name)...)
				words = append(words, m.saveValue(c.Table.Family))
			}
		}
	}
	module := ""
	for i := range r.Matches {
		m := &r.Matches[i]
		if m.Module == "" || m.Module == counterModule {
			continue
		}
		if m.Module != module || m.Field == Comment {
			words = append(words, "-m", m.moduleName())
			module = m.Module
		}
		words = append(words, m.saveOption(c.Table.Family)...)
	}
	if v := r.Verdict; v.Target != "" {
		words = append(words, map[bool]string{true: "-g", false: "-j"}[v.Action == Goto], v.Target)
	}
	return strings.Join(compact(words), " ")
}

func compact(words []string) []string {
	kept := words[:0]
	for _, w := range words {
		if w != "" {
			kept = append(kept, w)
		}
	}
	return kept
}

func (m *Match) moduleName() string {
	if m.Module == "userdata" {
		return "comment"
	}
	return m.Module
}

func (m *Match) inverted(option string) []string {
	if m.Invert {
		return []string{"!", option}
	}
	return []string{option}
}

// saveOption is what iptables-save prints behind -m module.
func (m *Match) saveOption(f Family) []string {
	option := map[Field]string{SrcPort: "--sport", DstPort: "--dport", TCPFlags: "--tcp-flags", ICMPType: "--icmp-type",
		CTState: "--ctstate", Mark: "--mark", Comment: "--comment"}[m.Field]
	switch {
	case m.Field == Always:
		return []string{m.Text}
	case m.Field == Other:
		return m.inverted(m.Text)
	case m.Field == ICMPCode: // printed with the type
		return nil
	case m.Module == "multiport":
		option = map[Field]string{SrcPort: "--sports", DstPort: "--dports", EitherPort: "--ports"}[m.Field]
	case m.Module == "state":
		option = "--state"
	case m.Field == ICMPType && f == IPv6:
		option = "--icmpv6-type"
	}
	return append(m.inverted(option), m.saveValue(f))
}

func (m *Match) saveValue(f Family) string {
	w := int(m.Width)
	if m.Field == Comment {
		return quoteSave(m.Text)
	}
	if w == 0 || len(m.Values) < 2*w {
		return ""
	}
	lo, hi := m.Values[:w], m.Values[w:2*w]
	switch m.Field {
	case SrcAddr, DstAddr:
		return addrText(lo, m.Mask, f, true)
	case InName, OutName:
		return nameText(lo, "+")
	case Proto:
		if lo[0] == protoICMPv6 {
			return "ipv6-icmp"
		}
		return protoText(lo[0])
	case SrcPort, DstPort, EitherPort:
		return m.ranges(":", ",")
	case TCPFlags:
		mask := byte(0xff)
		if len(m.Mask) > 0 {
			mask = m.Mask[0]
		}
		return flagNames(mask, "FIN,SYN,RST,PSH,ACK,URG", ",", "NONE") + " " + flagNames(lo[0], "FIN,SYN,RST,PSH,ACK,URG", ",", "NONE")
	case CTState:
		return stateNames(binary.BigEndian.Uint32(lo), true)
	case Mark:
		if m.Mask != nil {
			return fmt.Sprintf("0x%x/0x%x", be32(lo), be32(m.Mask))
		}
		return fmt.Sprintf("0x%x", be32(lo))
	}
	if lo[0] != hi[0] {
		return fmt.Sprintf("%d:%d", lo[0], hi[0])
	}
	return fmt.Sprint(lo[0])
}

// ranges writes 16 bit numbers.
func (m *Match) ranges(to, next string) string {
	var words []string
	for at := 0; at+4 <= len(m.Values); at += 4 {
		lo, hi := binary.BigEndian.Uint16(m.Values[at:]), binary.BigEndian.Uint16(m.Values[at+2:])
		if lo == hi {
			words = append(words, fmt.Sprint(lo))
		} else {
			words = append(words, fmt.Sprintf("%d%s%d", lo, to, hi))
		}
	}
	return strings.Join(words, next)
}

func protoText(n byte) string {
	if name := protoName(n); name != "" {
		return name
	}
	return fmt.Sprint(n)
}

// addrText writes an address and its mask; a prefix of whole bytes may come without its rest.
func addrText(v, mask []byte, f Family, always bool) string {
	size := 4
	if f == IPv6 || len(v) > 4 {
		size = 16
	}
	if mask == nil {
		mask = []byte(strings.Repeat("\xff", len(v)))
	}
	full, fullMask := make([]byte, size), make([]byte, size)
	copy(full, v)
	copy(fullMask, mask)
	addr, _ := netip.AddrFromSlice(full)
	n, ok := prefixLen(fullMask)
	switch {
	case !ok:
		m, _ := netip.AddrFromSlice(fullMask)
		return addr.String() + "/" + m.String()
	case n == 8*size && !always:
		return addr.String()
	}
	return fmt.Sprintf("%s/%d", addr, n)
}

// nameText writes a device's name; one that does not end with a NUL is a prefix.
func nameText(v []byte, wildcard string) string {
	s := cString(v)
	if len(s) == len(v) && len(v) < 16 {
		return s + wildcard
	}
	return s
}

func flagNames(v byte, names, sep, none string) string {
	var found []string
	for i, name := range strings.Split(names, ",") {
		if v&(1<<i) != 0 {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return none
	}
	return strings.Join(found, sep)
}

func stateNames(v uint32, iptables bool) string {
	states := []struct {
		bit  uint32
		name string
	}{{StateInvalid, "invalid"}, {StateEstablished, "established"}, {StateRelated, "related"}, {StateNew, "new"}, {StateUntracked, "untracked"}}
	if iptables {
		states = []struct {
			bit  uint32
			name string
		}{{StateInvalid, "INVALID"}, {StateNew, "NEW"}, {StateRelated, "RELATED"}, {StateEstablished, "ESTABLISHED"},
			{1 << 8, "UNTRACKED"}, {1 << 6, "SNAT"}, {1 << 7, "DNAT"}}
	}
	var found []string
	for _, s := range states {
		if v&s.bit != 0 {
			found = append(found, s.name)
		}
	}
	return strings.Join(found, ",")
}

// quoteSave quotes as iptables-save does: only what is more than a plain word.
func quoteSave(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(c rune) bool {
		return c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) < 0
	if plain {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s) + `"`
}
