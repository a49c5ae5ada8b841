// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"regexp"
	"strings"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// KindNetfilter is a decision of netfilter.
const KindNetfilter Kind = "netfilter"

// NetfilterOp says what netfilter decided about a packet.
type NetfilterOp string

// What it decides.
const (
	NetfilterVerdict      NetfilterOp = "verdict"      // a hook dropped it; the drop itself was reported just before
	NetfilterUntranslated NetfilterOp = "untranslated" // it begins a flow, and no rule gave that another destination
	NetfilterFull         NetfilterOp = "full"         // it begins a flow, and conntrack had no room for that
	NetfilterRefused      NetfilterOp = "refused"      // it begins a flow, and conntrack did not take that in
	NetfilterRejected     NetfilterOp = "rejected"     // a REJECT rule answers its sender; the drop follows
	NetfilterInvalid      NetfilterOp = "invalid"      // conntrack finds fault with it
)

// Netfilter is what netfilter says of one of its decisions. Event.Packet is the packet, or, where that was not at hand,
// the flow that it begins, without a length.
type Netfilter struct {
	Op     NetfilterOp `json:"op"`
	Family string      `json:"family,omitempty"` // of the hook: ipv4, ipv6, bridge, ...; "" if the hook is not known
	Hook   string      `json:"hook,omitempty"`   // prerouting, input, forward, output, postrouting, ingress, egress
	Answer string      `json:"answer,omitempty"` // to a rejected packet: tcp-reset or the name of an ICMP error
	Lost   *Conntrack  `json:"lost,omitempty"`   // the entry that the refused flow lost to; nil if there was none
	Dying  bool        `json:"dying,omitempty"`  // the refused flow's entry was being removed already
	Text   string      `json:"text,omitempty"`   // what conntrack would log of an invalid packet, without its numbers
}

// Kind implements Body.
func (Netfilter) Kind() Kind { return KindNetfilter }

// Summary implements Body.
func (n Netfilter) Summary() string {
	words := []string{string(n.Op)}
	for _, w := range []string{n.Hook, n.Answer, n.Text} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

func netfilterOpOf(op wire.NetfilterOp) NetfilterOp {
	names := [...]NetfilterOp{
		wire.NetfilterVerdict:      NetfilterVerdict,
		wire.NetfilterUntranslated: NetfilterUntranslated,
		wire.NetfilterFull:         NetfilterFull,
		wire.NetfilterRefused:      NetfilterRefused,
		wire.NetfilterRejected:     NetfilterRejected,
		wire.NetfilterInvalid:      NetfilterInvalid,
	}
	if int(op) < len(names) && names[op] != "" {
		return names[op]
	}
	return NetfilterOp(fmt.Sprintf("unknown(%#x)", uint32(op)))
}

// noHook stands in a record for a hook that is not known.
const noHook = 255

// hookName is the family and the hook by their numbers (enum nfproto, enum nf_inet_hooks, enum nf_dev_hooks:
// linux/netfilter.h, which is ABI).
func hookName(pf, hook uint8) (family, name string) {
	if hook == noHook {
		return "", ""
	}
	hooks := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	families := map[uint8]string{1: "inet", 2: "ipv4", 3: "arp", 5: "netdev", 7: "bridge", 10: "ipv6"}
	switch pf {
	case 3:
		hooks = []string{"input", "output", "forward"}
	case 5:
		hooks = []string{"ingress", "egress"}
	}
	family, name = families[pf], fmt.Sprintf("unknown(%#x)", hook)
	if family == "" {
		family = fmt.Sprintf("unknown(%#x)", pf)
	}
	if int(hook) < len(hooks) {
		name = hooks[hook]
	}
	return family, name
}

// directives are what printf replaces, with the words that only they need.
var directives = regexp.MustCompile(`\s*%[-+ #0]*[0-9.*]*(hh|h|ll|l|z)?[a-zA-Z]+`)

// plain is a format for printf without what it formats: the arguments were not taken.
func plain(format string) string {
	return strings.TrimSpace(directives.ReplaceAllString(format, ""))
}

func decodeNetfilter(raw []byte, e *Event) error {
	var r wire.Netfilter
	r.Decode(raw)
	e.Packet = packet.OfFlow(packet.ProtoName(r.Packet.Proto), tupleFlow(&r.Packet), "")
	e.Packet.Len, e.Packet.TTL = r.Len, r.Ttl
	if e.Packet.Proto == "tcp" {
		e.Packet.Flags = packet.FlagsText(r.TcpFlags)
	}
	n := Netfilter{Op: netfilterOpOf(wire.NetfilterOp(r.Op)), Text: plain(cString(r.Text[:])), Dying: r.Status&ipsDying != 0}
	n.Family, n.Hook = hookName(r.Pf, r.Hook)
	if n.Op == NetfilterRejected {
		n.Answer = answerName(r.Packet.Family, r.Icmp)
	}
	if r.Original.Family != 0 {
		n.Lost = NewConntrack(tupleFlow(&r.Original), tupleFlow(&r.Reply))
	}
	e.Body = n
	return nil
}

// answerName is what a REJECT rule answers: type << 8 | code of an ICMP error, or 0.
func answerName(family uint8, icmp uint32) string {
	if icmp == 0 {
		return "tcp-reset"
	}
	p := packet.Packet{Proto: "icmp", ICMPType: uint8(icmp >> 8), ICMPCode: uint8(icmp)}
	if family == 6 {
		p.Proto = "icmpv6"
	}
	return p.ICMPName()
}
