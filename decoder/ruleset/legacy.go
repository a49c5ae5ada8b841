// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"errors"
	"fmt"
)

// ErrGarbled is returned for rules that end early or point out of themselves.
var ErrGarbled = errors.New("garbled rules")

// LegacyInfo is struct ipt_getinfo: what precedes the rules of one table of iptables-legacy.
type LegacyInfo struct {
	ValidHooks uint32
	Entry      [5]uint32 // where a hook's chain begins
	Underflow  [5]uint32 // where its policy is
	Entries    uint32
	Size       uint32 // of all rules, bytes
}

// layout is where struct ipt_entry and struct ip6t_entry differ.
type layout struct {
	addr                 int // bytes of an address
	proto, flags, invert int
	target, next         int
	counters, size       int
	protoFlag, gotoFlag  byte
}

func layoutOf(f Family) layout {
	if f == IPv6 {
		return layout{addr: 16, proto: 128, flags: 131, invert: 132, target: 140, next: 142, counters: 152, size: 168, protoFlag: 1, gotoFlag: 4}
	}
	return layout{addr: 4, proto: 80, flags: 82, invert: 83, target: 88, next: 90, counters: 96, size: 112, gotoFlag: 2}
}

// Flags of ipt_ip.invflags that the decoder asks for, the same for both families.
const (
	invIn, invOut, invSrc, invDst, invFrag, invProto = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40
	fragFlag                                         = 1 // of ipt_ip.flags, IPv4 only
	matchHeader                                      = 32
)

// legacy is a table while it is being read.
type legacy struct {
	layout
	table  *Table
	blob   []byte
	starts map[int]*Chain // chains by where their first rule is
}

// ParseLegacy reads the rules of one table as IPT_SO_GET_ENTRIES hands them out. Errors wrap ErrGarbled.
func ParseLegacy(f Family, name string, info LegacyInfo, blob []byte) (*Table, error) {
	l := &legacy{layout: layoutOf(f), blob: blob, starts: map[int]*Chain{},
		table: &Table{System: Legacy, Family: f, Name: name}}
	if err := l.chains(info); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := l.rules(info); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l.table, nil
}

// entry checks one entry's bounds and returns it with where the next begins.
func (l *legacy) entry(at int) (e []byte, target []byte, next int, err error) {
	if at < 0 || at+l.size > len(l.blob) {
		return nil, nil, 0, ErrGarbled
	}
	e = l.blob[at:]
	t, n := int(native.Uint16(e[l.target:])), int(native.Uint16(e[l.next:]))
	if t < l.size || n < t+matchHeader || n > len(e) {
		return nil, nil, 0, ErrGarbled
	}
	e = e[:n]
	size := int(native.Uint16(e[t:]))
	if size < matchHeader || t+size > n {
		return nil, nil, 0, ErrGarbled
	}
	return e, e[t : t+size], at + n, nil
}

func xtName(b []byte) string { return cString(b[2:31]) }

// chains finds the chains: those of hooks by the info, the others by the ERROR target that heads each.
func (l *legacy) chains(info LegacyInfo) error {
	for h := range info.Entry {
		if info.ValidHooks&(1<<h) != 0 {
			c := l.table.add(legacyHookName(Hook(h)))
			c.Hook, c.Type, c.Priority = Hook(h), "filter", legacyPriority(l.table.Name, Hook(h))
			l.starts[int(info.Entry[h])] = c
		}
	}
	for at := 0; at < len(l.blob); {
		_, target, next, err := l.entry(at)
		if err != nil {
			return err
		}
		if xtName(target) == "ERROR" && next < len(l.blob) {
			name := cString(target[matchHeader:])
			if l.table.Chain(name) != nil {
				return fmt.Errorf("%w: two chains %q", ErrGarbled, name)
			}
			l.starts[next] = l.table.add(name)
		}
		at = next
	}
	return nil
}

func legacyHookName(h Hook) string {
	return [...]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}[h]
}

// legacyPriority is that of the table's hook in the kernel (enum nf_ip_hook_priorities).
func legacyPriority(table string, h Hook) int32 {
	switch table {
	case "raw":
		return -300
	case "mangle":
		return -150
	case "security":
		return 50
	case "nat":
		if h == Postrouting || h == Input {
			return 100
		}
		return -100
	}
	return 0
}

func (l *legacy) rules(info LegacyInfo) error {
	policies := map[int]bool{}
	for h, at := range info.Underflow {
		if info.ValidHooks&(1<<h) != 0 {
			policies[int(at)] = true
		}
	}
	var chain *Chain
	ended := true
	for at := 0; at < len(l.blob); {
		e, target, next, err := l.entry(at)
		if err != nil {
			return err
		}
		if c := l.starts[at]; c != nil {
			chain, ended = c, false
		}
		switch {
		case chain == nil || xtName(target) == "ERROR":
			ended = true
		case policies[at] && chain.Hook != NoHook:
			chain.Policy, _ = l.standard(target, next, false)
			chain.Counter = l.counter(e)
			ended = true
		case !ended && l.implicit(next, target):
			ended = true
		case !ended:
			if err := l.rule(chain, e, target, next); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// implicit is whether this is the RETURN that ends every chain of a user.
func (l *legacy) implicit(next int, target []byte) bool {
	v, _ := l.standard(target, next, false)
	if v.Action != Return || xtName(target) != "" {
		return false
	}
	if next >= len(l.blob) {
		return true
	}
	_, t, _, err := l.entry(next)
	return err == nil && xtName(t) == "ERROR"
}

func (l *legacy) counter(e []byte) Counter {
	return Counter{Packets: native.Uint64(e[l.counters:]), Bytes: native.Uint64(e[l.counters+8:]), Counted: true}
}

func (l *legacy) rule(c *Chain, e, target []byte, next int) error {
	t := int(native.Uint16(e[l.target:]))
	r := Rule{Number: len(c.Rules) + 1, Counter: l.counter(e), Matches: l.header(e)}
	for at := l.size; at < t; {
		if at+matchHeader > t {
			return ErrGarbled
		}
		size := int(native.Uint16(e[at:]))
		if size < matchHeader || at+size > t {
			return ErrGarbled
		}
		m := e[at : at+size]
		r.Matches = append(r.Matches, xtMatch(l.table.Family, xtName(m), m[31], m[matchHeader:])...)
		at += size
	}
	if name := xtName(target); name != "" {
		r.Verdict = xtTarget(l.table.Family, name, target[31], target[matchHeader:])
	} else {
		v, err := l.standard(target, next, e[l.flags]&l.gotoFlag != 0)
		if err != nil {
			return err
		}
		r.Verdict = v
	}
	c.Rules = append(c.Rules, r)
	return nil
}

// standard is the verdict of a target without a name: a number, or where to jump.
func (l *legacy) standard(target []byte, next int, isGoto bool) (Verdict, error) {
	if len(target) < matchHeader+4 {
		return Verdict{}, ErrGarbled
	}
	n := int32(native.Uint32(target[matchHeader:]))
	switch {
	case n == -5:
		return Verdict{Action: Return, Target: "RETURN"}, nil
	case n < 0:
		return nfVerdict(uint32(-n - 1)), nil
	case int(n) == next:
		return Verdict{}, nil
	}
	c := l.starts[int(n)]
	if c == nil {
		return Verdict{}, fmt.Errorf("%w: jump to nowhere", ErrGarbled)
	}
	v := Verdict{Action: Jump, Chain: c.Name, Target: c.Name}
	if isGoto {
		v.Action = Goto
	}
	return v, nil
}

// nfVerdict is one of the kernel's final verdicts.
func nfVerdict(n uint32) Verdict {
	switch n & 0xff {
	case 0:
		return Verdict{Action: Drop, Target: "DROP"}
	case 1:
		return Verdict{Action: Accept, Target: "ACCEPT"}
	case 3:
		return Verdict{Action: Elsewhere, Target: "QUEUE"}
	}
	return Verdict{Action: Obscure, Target: unknown(uint64(n))}
}

// header reads the matches that every rule has room for.
func (l *legacy) header(e []byte) []Match {
	inv := e[l.invert]
	var m []Match
	m = append(m, addrMatch(SrcAddr, e[:l.addr], e[2*l.addr:3*l.addr], inv&invSrc != 0)...)
	m = append(m, addrMatch(DstAddr, e[l.addr:2*l.addr], e[3*l.addr:4*l.addr], inv&invDst != 0)...)
	dev := e[4*l.addr:]
	m = append(m, devMatch(InName, dev[:16], dev[32:48], inv&invIn != 0)...)
	m = append(m, devMatch(OutName, dev[16:32], dev[48:64], inv&invOut != 0)...)
	proto := byte(native.Uint16(e[l.proto:]))
	if proto != 0 || (l.protoFlag != 0 && e[l.flags]&l.protoFlag != 0) {
		m = append(m, Match{Field: Proto, Invert: inv&invProto != 0, Width: 1, Values: []byte{proto, proto}})
	}
	if l.addr == 4 && e[l.flags]&fragFlag != 0 {
		m = append(m, Match{Field: Fragment, Invert: inv&invFrag != 0})
	}
	return m
}

func addrMatch(f Field, addr, mask []byte, invert bool) []Match {
	if n, ok := prefixLen(mask); ok && n == 0 && !invert {
		return nil
	}
	m := Match{Field: f, Invert: invert, Width: uint8(len(addr)), Values: append(masked(addr, mask), masked(addr, mask)...)}
	if n, _ := prefixLen(mask); n != 8*len(mask) {
		m.Mask = append([]byte(nil), mask...)
	}
	return []Match{m}
}

// devMatch is the match of a device's name; only the bytes that the mask covers count.
func devMatch(f Field, name, mask []byte, invert bool) []Match {
	n := maskLen(mask)
	if n == 0 {
		return nil
	}
	v := append([]byte(nil), name[:n]...)
	return []Match{{Field: f, Invert: invert, Width: uint8(n), Values: append(v, v...)}}
}
