// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// list is the rule as nft -a list prints it.
func (r *Rule) list() string {
	var words []string
	comment := ""
	for i := range r.Matches {
		m := &r.Matches[i]
		switch {
		case m.Module == "userdata":
			comment = fmt.Sprintf("comment %q", m.Text)
		case m.Module == counterModule:
			words = append(words, fmt.Sprintf("counter packets %d bytes %d", r.Counter.Packets, r.Counter.Bytes))
		case m.Module != "":
			words = append(words, "xt match "+m.Module)
		case !r.implied(i):
			words = append(words, m.list())
		}
	}
	words = append(words, r.Verdict.list(), comment)
	if r.Handle != 0 {
		words = append(words, fmt.Sprintf("# handle %d", r.Handle))
	}
	return strings.Join(compact(words), " ")
}

// implied is whether nft leaves a match out because a later word says it: tcp dport needs no meta l4proto tcp.
func (r *Rule) implied(i int) bool {
	m := &r.Matches[i]
	if m.Invert || m.Set != nil || int(m.Width)*2 != len(m.Values) || !strings.HasPrefix(m.Text, "meta ") {
		return false
	}
	var words []string
	switch m.Field {
	case Proto:
		words = []string{protoText(m.Values[0])}
	case NFProto, EtherType:
		words = map[string][]string{"ip": {"ip", "icmp"}, "ipv4": {"ip", "icmp"}, "ip6": {"ip6", "icmpv6"}, "ipv6": {"ip6", "icmpv6"}}[listValue(m.Field, m.Values[:m.Width], nil)]
	}
	later := []string{strings.TrimPrefix(r.Verdict.list(), "reject with ")}
	for k := range r.Matches[i+1:] {
		later = append(later, r.Matches[i+1+k].text())
	}
	return slices.ContainsFunc(later, func(text string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			return strings.HasPrefix(text, w+" ") || strings.Contains(text, " . "+w+" ")
		})
	})
}

// text is how nft calls what the match looks at.
func (m *Match) text() string {
	if m.Set == nil {
		return m.Text
	}
	words := make([]string, 0, len(m.Parts))
	for _, p := range m.Parts {
		words = append(words, p.Text)
	}
	return strings.Join(words, " . ")
}

func (m *Match) list() string {
	if m.Field == Always || (m.Field == Other && m.Set == nil && m.Values == nil) {
		return m.Text
	}
	words := []string{m.text()}
	if m.Mask != nil && m.Set == nil && (m.Field == Mark || m.Field == TCPFlags || m.Field == Other) {
		return m.listMasked()
	}
	if m.Invert {
		words = append(words, "!=")
	}
	if m.Set != nil {
		return strings.Join(append(words, m.Set.list(m.Parts)), " ")
	}
	w := int(m.Width)
	if w == 0 || len(m.Values) < 2*w {
		return m.text() + " ..."
	}
	lo, hi := m.Values[:w], m.Values[w:2*w]
	value := listValue(m.Field, lo, m.Mask)
	if string(lo) != string(hi) {
		value += "-" + listValue(m.Field, hi, m.Mask)
	}
	return strings.Join(append(words, value), " ")
}

// listMasked writes comparisons of single bits.
func (m *Match) listMasked() string {
	w := int(m.Width)
	if w == 0 || len(m.Values) < 2*w {
		return m.text() + " ..."
	}
	op := map[bool]string{false: "==", true: "!="}[m.Invert]
	if m.Field == TCPFlags {
		eq := map[bool]string{false: "", true: "!= "}[m.Invert]
		return fmt.Sprintf("%s %s%s / %s", m.Text, eq, listValue(m.Field, m.Values[:w], nil), listValue(m.Field, m.Mask, nil))
	}
	return fmt.Sprintf("%s & %s %s %s", m.Text, listValue(m.Field, m.Mask, nil), op, listValue(m.Field, m.Values[:w], nil))
}

func listValue(f Field, v, mask []byte) string {
	switch f {
	case SrcAddr, DstAddr:
		if len(v) <= 4 {
			return addrText(v, mask, IPv4, false)
		}
		return addrText(v, mask, IPv6, false)
	case InName, OutName:
		return fmt.Sprintf("%q", nameText(v, "*"))
	case Proto:
		if len(v) > 0 {
			return map[bool]string{true: "ipv6-icmp", false: protoText(v[0])}[v[0] == protoICMPv6]
		}
	case NFProto:
		if len(v) > 0 {
			return Family(v[0]).String()
		}
	case EtherType:
		if len(v) == 2 {
			return map[uint16]string{0x0800: "ip", 0x86dd: "ip6", 0x0806: "arp"}[binary.BigEndian.Uint16(v)]
		}
	case SrcPort, DstPort, Length:
		if len(v) == 2 {
			return fmt.Sprint(binary.BigEndian.Uint16(v))
		}
	case TCPFlags:
		if len(v) == 1 {
			return flagNames(v[0], "fin,syn,rst,psh,ack,urg,ecn,cwr", ",", "0x0")
		}
	case CTState:
		return stateNames(be32(v), false)
	case Mark:
		return fmt.Sprintf("0x%08x", be32(v))
	case ICMPType:
		if len(v) == 1 {
			return icmpType(v[0])
		}
	case ICMPCode, TTL:
		if len(v) == 1 {
			return fmt.Sprint(v[0])
		}
	}
	return fmt.Sprintf("0x%x", v)
}

// maxListed is how many elements of a nameless set a rule's text shows.
const maxListed = 16

// list names the set, or lists a nameless one.
func (s *Set) list(parts []Part) string {
	if !strings.HasPrefix(s.Name, "__") {
		return "@" + s.Name
	}
	if !s.Loaded {
		return "{ ... }"
	}
	words := make([]string, 0, min(len(s.Elements), maxListed))
	for i, e := range s.Elements {
		if i == maxListed {
			words = append(words, "...")
			break
		}
		words = append(words, e.list(parts))
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

func (e *Element) list(parts []Part) string {
	var words []string
	at := 0
	for _, p := range parts {
		end := at + p.Len
		if end > len(e.Lo) || end > len(e.Hi) {
			break
		}
		from, to := e.Lo[at:end], e.Hi[at:end]
		if p.Host {
			from, to = reversed(from), reversed(to)
		}
		lo, hi := listValue(p.Field, from, nil), listValue(p.Field, to, nil)
		if lo != hi {
			lo += "-" + hi
		}
		words = append(words, lo)
		at += (p.Len + 3) &^ 3
	}
	text := strings.Join(words, " . ")
	if e.Verdict != nil {
		text += " : " + e.Verdict.Target
	}
	return text
}

func (v *Verdict) list() string {
	if v.Action == Lookup {
		return v.Map.text() + " vmap " + v.Map.Set.list(v.Map.Parts)
	}
	return v.Target
}

// icmpType names the types that firewalls are about, of ICMP and ICMPv6: their numbers do not overlap.
func icmpType(n byte) string {
	names := map[byte]string{0: "echo-reply", 3: "destination-unreachable", 8: "echo-request", 11: "time-exceeded",
		128: "echo-request", 129: "echo-reply", 133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit",
		136: "nd-neighbor-advert"}
	if name, ok := names[n]; ok {
		return name
	}
	return fmt.Sprint(n)
}
