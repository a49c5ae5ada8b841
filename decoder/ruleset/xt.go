// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"ktrace/decoder/printable"
)

// native reads what the kernel keeps in its own order. All that ktrace runs on are little endian.
var native = binary.LittleEndian

// xtMatch decodes the data of one match of iptables (struct xt_*_info of <linux/netfilter/xt_*.h>). What is not
// understood, or too short, becomes a match that cannot be decided.
func xtMatch(f Family, name string, revision uint8, data []byte) []Match {
	decode := xtDecoder(name)
	if decode == nil {
		return []Match{{Field: Other, Module: name, Text: "..."}}
	}
	matches, ok := decode(f, revision, data)
	if !ok {
		return []Match{{Field: Other, Module: name, Text: "..."}}
	}
	for i := range matches {
		if matches[i].Module == "" {
			matches[i].Module = name
		}
	}
	return matches
}

type xtDecode func(f Family, revision uint8, data []byte) ([]Match, bool)

func xtDecoder(name string) xtDecode {
	switch name {
	case "tcp":
		return xtTCP
	case "udp", "udplite":
		return xtPorts
	case "icmp", "icmp6":
		return xtICMP
	case "comment":
		return xtComment
	case "conntrack":
		return xtConntrack
	case "state":
		return xtState
	case "multiport":
		return xtMultiport
	case "mark":
		return xtMark
	case "statistic":
		return xtStatistic
	case "addrtype":
		return xtAddrtype
	case "physdev":
		return xtPhysdev
	case "limit":
		return xtLimit
	case "set":
		return xtSet
	}
	return nil
}

// rangeOf is a match of a 16 bit field in host order; the whole range is none.
func rangeOf(field Field, lo, hi uint16, invert bool) []Match {
	if lo == 0 && hi == 0xffff && !invert {
		return nil
	}
	v := binary.BigEndian.AppendUint16(nil, lo)
	return []Match{{Field: field, Invert: invert, Width: 2, Values: binary.BigEndian.AppendUint16(v, hi)}}
}

func xtPorts(_ Family, _ uint8, b []byte) ([]Match, bool) {
	if len(b) < 9 {
		return nil, false
	}
	m := rangeOf(SrcPort, native.Uint16(b), native.Uint16(b[2:]), b[8]&1 != 0)
	m = append(m, rangeOf(DstPort, native.Uint16(b[4:]), native.Uint16(b[6:]), b[8]&2 != 0)...)
	return orAlways(m), true
}

// orAlways keeps a module that matches nothing of its own in the text of the rule.
func orAlways(m []Match) []Match {
	if len(m) == 0 {
		return []Match{{Field: Always}}
	}
	return m
}

func xtTCP(_ Family, _ uint8, b []byte) ([]Match, bool) {
	if len(b) < 12 {
		return nil, false
	}
	inv := b[11]
	m := rangeOf(SrcPort, native.Uint16(b), native.Uint16(b[2:]), inv&1 != 0)
	m = append(m, rangeOf(DstPort, native.Uint16(b[4:]), native.Uint16(b[6:]), inv&2 != 0)...)
	if b[9] != 0 || inv&4 != 0 {
		m = append(m, Match{Field: TCPFlags, Invert: inv&4 != 0, Width: 1, Mask: []byte{b[9]}, Values: []byte{b[10], b[10]}})
	}
	if b[8] != 0 {
		m = append(m, Match{Field: Other, Invert: inv&8 != 0, Text: fmt.Sprintf("--tcp-option %d", b[8])})
	}
	return orAlways(m), true
}

func xtICMP(_ Family, _ uint8, b []byte) ([]Match, bool) {
	if len(b) < 4 {
		return nil, false
	}
	if b[0] == 0xff {
		return []Match{{Field: Always, Text: "--icmp-type any"}}, true
	}
	m := []Match{{Field: ICMPType, Invert: b[3]&1 != 0, Width: 1, Values: []byte{b[0], b[0]}}}
	if b[1] == 0 && b[2] == 0xff {
		return m, true
	}
	if m[0].Invert { // not both together: neither can be decided alone
		return []Match{{Field: Other, Text: fmt.Sprintf("! --icmp-type %d/%d", b[0], b[1])}}, true
	}
	return append(m, Match{Field: ICMPCode, Width: 1, Values: []byte{b[1], b[2]}}), true
}

func xtComment(_ Family, _ uint8, b []byte) ([]Match, bool) {
	return []Match{{Field: Comment, Text: cString(b)}}, true
}

func cString(b []byte) string { return printable.Valid(string(beforeNUL(b))) }

func beforeNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// xtConntrack reads struct xt_conntrack_mtinfo1 to 3, of which the state is what rules ask for.
func xtConntrack(_ Family, revision uint8, b []byte) ([]Match, bool) {
	const state, alias = 1 << 0, 1 << 13
	if len(b) < 156 || revision < 1 {
		return nil, false
	}
	flags, invert := native.Uint16(b[146:]), native.Uint16(b[148:])
	mask := uint32(native.Uint16(b[150:]))
	if revision == 1 {
		mask = uint32(b[150])
	}
	var m []Match
	if flags&state != 0 {
		m = append(m, stateMatch(mask, invert&state != 0))
		if flags&alias != 0 {
			m[0].Module = "state"
		}
	}
	if flags&^(state|alias) != 0 {
		m = append(m, Match{Field: Other, Text: "..."})
	}
	return orAlways(m), true
}

func stateMatch(mask uint32, invert bool) Match {
	// Bits 6 and 7 are SNAT and DNAT here, where nftables has "untracked": bit 8.
	v := binary.BigEndian.AppendUint32(nil, mask)
	return Match{Field: CTState, Invert: invert, Width: 4, Values: append(v, v...)}
}

func xtState(_ Family, _ uint8, b []byte) ([]Match, bool) {
	if len(b) < 4 {
		return nil, false
	}
	return []Match{stateMatch(native.Uint32(b), false)}, true
}

func xtMultiport(_ Family, revision uint8, b []byte) ([]Match, bool) {
	if len(b) < 48 || revision != 1 {
		return nil, false
	}
	fields := []Field{SrcPort, DstPort, EitherPort}
	if int(b[0]) >= len(fields) || b[1] > 15 {
		return nil, false
	}
	m := Match{Field: fields[b[0]], Invert: b[47] != 0, Width: 2}
	for i := 0; i < int(b[1]); i++ {
		lo := native.Uint16(b[2+2*i:])
		hi := lo
		if b[32+i] != 0 && i+1 < int(b[1]) { // the next is the end of a range
			i++
			hi = native.Uint16(b[2+2*i:])
		}
		m.Values = binary.BigEndian.AppendUint16(m.Values, lo)
		m.Values = binary.BigEndian.AppendUint16(m.Values, hi)
	}
	return []Match{m}, true
}

func xtMark(_ Family, revision uint8, b []byte) ([]Match, bool) {
	if len(b) < 9 || revision != 1 {
		return nil, false
	}
	v := binary.BigEndian.AppendUint32(nil, native.Uint32(b))
	m := Match{Field: Mark, Invert: b[8] != 0, Width: 4, Values: append(v, v...)}
	if mask := native.Uint32(b[4:]); mask != 0xffffffff {
		m.Mask = binary.BigEndian.AppendUint32(nil, mask)
	}
	return []Match{m}, true
}

func xtStatistic(_ Family, _ uint8, b []byte) ([]Match, bool) {
	if len(b) < 16 {
		return nil, false
	}
	m := Match{Field: Other, Invert: native.Uint16(b[2:])&1 != 0}
	switch native.Uint16(b) {
	case 0:
		m.Text = fmt.Sprintf("--mode random%s --probability %.11f", bang(m.Invert), float64(native.Uint32(b[4:]))/(1<<31))
	case 1:
		m.Text = fmt.Sprintf("--mode nth%s --every %d --packet %d", bang(m.Invert), native.Uint32(b[4:])+1, native.Uint32(b[8:]))
	default:
		return nil, false
	}
	m.Invert = false // the text has it, in its middle
	return []Match{m}, true
}

func bang(invert bool) string {
	if invert {
		return " !"
	}
	return ""
}

func xtAddrtype(_ Family, revision uint8, b []byte) ([]Match, bool) {
	if len(b) < 8 || revision != 1 {
		return nil, false
	}
	src, dst, flags := native.Uint16(b), native.Uint16(b[2:]), native.Uint32(b[4:])
	var text []string
	for _, side := range []struct {
		option string
		mask   uint16
		invert bool
	}{{"--src-type", src, flags&1 != 0}, {"--dst-type", dst, flags&2 != 0}} {
		if side.mask == 0 {
			continue
		}
		if side.invert {
			text = append(text, "!")
		}
		text = append(text, side.option, addrTypes(side.mask))
	}
	for _, limit := range []struct {
		option string
		bit    uint32
	}{{"--limit-iface-in", 4}, {"--limit-iface-out", 8}} {
		if flags&limit.bit != 0 {
			text = append(text, limit.option)
		}
	}
	return []Match{{Field: Other, Text: strings.Join(text, " ")}}, true
}

func addrTypes(mask uint16) string {
	names := []string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT",
		"THROW", "NAT", "XRESOLVE"}
	var found []string
	for i, name := range names {
		if mask&(1<<i) != 0 {
			found = append(found, name)
		}
	}
	return strings.Join(found, ",")
}

func xtPhysdev(_ Family, _ uint8, b []byte) ([]Match, bool) {
	if len(b) < 66 {
		return nil, false
	}
	invert, which := b[64], b[65]
	var text []string
	for _, o := range []struct {
		bit    uint8
		option string
		value  string
	}{
		{8, "--physdev-is-in", ""}, {1, "--physdev-in", devName(b[:16], b[16:32])},
		{16, "--physdev-is-out", ""}, {2, "--physdev-out", devName(b[32:48], b[48:64])}, {4, "--physdev-is-bridged", ""},
	} {
		if which&o.bit == 0 {
			continue
		}
		if invert&o.bit != 0 {
			text = append(text, "!")
		}
		text = append(text, strings.TrimSpace(o.option+" "+o.value))
	}
	return []Match{{Field: Other, Text: strings.Join(text, " ")}}, true
}

// devName is how iptables writes a name of which only what the mask covers counts.
func devName(name, mask []byte) string {
	s := cString(name)
	if n := maskLen(mask); n <= len(s) && n < len(mask) {
		return s[:n] + "+"
	}
	return s
}

// maskLen is how many leading bytes of a mask are set.
func maskLen(mask []byte) int {
	n := 0
	for n < len(mask) && mask[n] == 0xff {
		n++
	}
	return n
}

func xtLimit(_ Family, _ uint8, b []byte) ([]Match, bool) {
	if len(b) < 8 {
		return nil, false
	}
	text := "--limit " + limitRate(native.Uint32(b))
	if burst := native.Uint32(b[4:]); burst != 5 {
		text += fmt.Sprintf(" --limit-burst %d", burst)
	}
	return []Match{{Field: Other, Text: text}}, true
}

// limitRate writes a period, in 1/10,000 s, as iptables does: in the largest unit that comes out even.
func limitRate(period uint32) string {
	if period == 0 {
		return "0/sec"
	}
	units := []struct {
		name  string
		ticks uint32
	}{{"day", 24 * 60 * 60 * 10000}, {"hour", 60 * 60 * 10000}, {"min", 60 * 10000}, {"sec", 10000}}
	i := 1
	for i < len(units) && period <= units[i].ticks && units[i].ticks/period >= units[i].ticks%period {
		i++
	}
	return fmt.Sprintf("%d/%s", units[i-1].ticks/period, units[i-1].name)
}

// xtSet reads struct xt_set_info, which names the set by number only.
func xtSet(_ Family, revision uint8, b []byte) ([]Match, bool) {
	if len(b) < 4 || revision == 0 {
		return nil, false
	}
	index, dim, flags := native.Uint16(b), b[2], b[3]
	dirs := make([]string, 0, 3)
	for i := 1; i <= int(min(dim, 3)); i++ {
		dirs = append(dirs, map[bool]string{true: "src", false: "dst"}[flags&(1<<i) != 0])
	}
	return []Match{{Field: Other, Invert: flags&1 != 0, Text: fmt.Sprintf(ipsetOption+" #%d %s", index, strings.Join(dirs, ","))}}, true
}

// xtTarget decodes the data of a target.
func xtTarget(f Family, name string, revision uint8, b []byte) Verdict {
	switch name {
	case "REJECT":
		v := Verdict{Action: Reject}
		if len(b) >= 4 {
			v.Answer = rejectName(f, native.Uint32(b))
		}
		v.Target = "REJECT --reject-with " + v.Answer
		return v
	case "DNAT", "SNAT", "REDIRECT", "MASQUERADE":
		return xtNAT(f, name, revision, b)
	case "MARK", "CONNMARK":
		v := Verdict{Action: Next, Target: name}
		if name == "MARK" && revision == 2 && len(b) >= 8 {
			v.Target = fmt.Sprintf("MARK --set-xmark 0x%x/0x%x", native.Uint32(b), native.Uint32(b[4:]))
		}
		return v
	case "LOG":
		return Verdict{Action: Next, Target: xtLog(b)}
	case "CT", "NOTRACK":
		return xtCT(name, b)
	case "NFLOG", "TCPMSS", "TRACE", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "CHECKSUM", "AUDIT", "SET", "TEE",
		"CONNSECMARK", "SECMARK", "TCPOPTSTRIP", "RATEEST", "IDLETIMER", "LED", "HMARK":
		return Verdict{Action: Next, Target: name}
	case "TPROXY":
		return Verdict{Action: Proxy, Target: name}
	case "NFQUEUE", "NETMAP", "SYNPROXY":
		return Verdict{Action: Elsewhere, Target: name}
	}
	return Verdict{Action: Obscure, Target: name}
}

// xtCT reads struct xt_ct_target_info, which begins with flags and the zone. One that is for one direction alone, or of
// the packet's mark, is not reported.
func xtCT(name string, b []byte) Verdict {
	const notrack, directions, ofMark = 1, 4 | 8, 16
	v := Verdict{Action: Next, Target: name}
	if name == "NOTRACK" || len(b) >= 2 && native.Uint16(b)&notrack != 0 {
		v.Target = untrackTarget
	} else if len(b) >= 4 && native.Uint16(b)&(directions|ofMark) == 0 && native.Uint16(b[2:]) != 0 {
		v.Zone = Zone{true, native.Uint16(b[2:])}
		v.Target += fmt.Sprintf(" --zone %d", v.Zone.ID)
	}
	return v
}

func rejectName(f Family, n uint32) string {
	names := []string{"icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable", "icmp-echo-reply",
		"icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited"}
	if f == IPv6 {
		names = []string{"icmp6-no-route", "icmp6-adm-prohibited", "icmp6-not-neighbour", "icmp6-addr-unreachable", "icmp6-port-unreachable",
			"icmp6-echo-reply", "tcp-reset", "icmp6-policy-fail", "icmp6-reject-route"}
	}
	if int(n) < len(names) {
		return names[n]
	}
	return unknown(uint64(n))
}

func xtLog(b []byte) string {
	text := "LOG"
	if len(b) < 32 {
		return text
	}
	if prefix := cString(b[2:32]); prefix != "" {
		text += " --log-prefix " + quoteSave(prefix)
	}
	if b[0] != 4 {
		text += fmt.Sprintf(" --log-level %d", b[0])
	}
	for i, option := range []string{"--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "", "--log-macdecode"} {
		if b[1]&(1<<i) != 0 && option != "" {
			text += " " + option
		}
	}
	return text
}

// xtNAT reads struct nf_nat_range, or the older struct nf_nat_ipv4_multi_range_compat.
func xtNAT(f Family, name string, revision uint8, b []byte) Verdict {
	v := Verdict{Action: Elsewhere, Target: name, NewDst: name == "DNAT" || name == "REDIRECT"}
	v.NewSrc = !v.NewDst
	const mapAddrs, mapPorts = 1, 2
	var flags uint32
	var from, to netip.Addr
	var lo, hi uint16
	switch {
	case f == IPv4 && (revision == 0 || name == "MASQUERADE" || name == "REDIRECT"):
		if len(b) < 20 {
			return v
		}
		flags = native.Uint32(b[4:])
		from, to = netip.AddrFrom4([4]byte(b[8:12])), netip.AddrFrom4([4]byte(b[12:16]))
		lo, hi = binary.BigEndian.Uint16(b[16:]), binary.BigEndian.Uint16(b[18:])
	case len(b) >= 40:
		flags = native.Uint32(b)
		from, to = netip.AddrFrom16([16]byte(b[4:20])), netip.AddrFrom16([16]byte(b[20:36]))
		if f == IPv4 {
			from, to = netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4([4]byte(b[20:24]))
		}
		lo, hi = binary.BigEndian.Uint16(b[36:]), binary.BigEndian.Uint16(b[38:])
	default:
		return v
	}
	where := ""
	if flags&mapAddrs != 0 {
		where = bracketed(from, flags&mapPorts != 0)
		if to != from {
			where += "-" + bracketed(to, flags&mapPorts != 0)
		}
	}
	if flags&mapPorts != 0 {
		v.Ports = Ports{lo, hi}
		ports := fmt.Sprint(lo)
		if hi != lo {
			ports += fmt.Sprintf("-%d", hi)
		}
		if name == "REDIRECT" || name == "MASQUERADE" {
			where = ports
		} else {
			where += ":" + ports
		}
	}
	if where != "" {
		option := map[string]string{"DNAT": "--to-destination", "SNAT": "--to-source"}[name]
		if option == "" {
			option = "--to-ports"
		}
		v.Target += " " + option + " " + where
	}
	v.Target += natOptions(flags)
	if name == "DNAT" {
		v.DNAT = where
	}
	return v
}

// natOptions names the bits of nf_nat_range.flags that are options, in the order of iptables.
func natOptions(flags uint32) (text string) {
	for _, o := range []struct {
		bit  uint32
		name string
	}{{4, "--random"}, {16, "--random-fully"}, {8, "--persistent"}} {
		if flags&o.bit != 0 {
			text += " " + o.name
		}
	}
	return text
}

func bracketed(a netip.Addr, port bool) string {
	if a.Is6() && port {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// prefixLen is the length of a mask, or false if it has holes.
func prefixLen(mask []byte) (int, bool) {
	n := 0
	for i, b := range mask {
		ones := bits.LeadingZeros8(^b)
		n += ones
		if ones < 8 {
			for _, rest := range mask[i+1:] {
				if rest != 0 {
					return 0, false
				}
			}
			return n, b<<ones == 0
		}
	}
	return n, true
}
