// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"cmp"
	"net/netip"
)

// FlowKey is a flow of a protocol as the key of a map. It is one piece of memory without pointers, half as long as the
// tuple and hashed at once: a file may hold millions of packets, and each is looked up.
type FlowKey struct {
	src, dst     [16]byte
	sport, dport uint16
	proto        uint8
	v4           bool
	echo         uint16
}

// Key is the flow's; echo distinguishes pings, which have no ports.
func (f FlowTuple) Key(proto string, echo uint16) FlowKey {
	return newFlowKey(proto, f.Src.Addr(), f.Dst.Addr(), f.Src.Port(), f.Dst.Port(), echo)
}

// FlowKey is the key of the packet's flow, with the number of its ping if it is one of one.
func (p *Packet) FlowKey() FlowKey {
	return newFlowKey(p.Proto, p.Src, p.Dst, p.Sport, p.Dport, p.EchoID())
}

func newFlowKey(proto string, src, dst netip.Addr, sport, dport, echo uint16) FlowKey {
	return FlowKey{
		src: src.As16(), dst: dst.As16(), sport: sport, dport: dport,
		proto: ProtoNumber(proto), v4: src.Is4(), echo: echo,
	}
}

// Reverse is the key of the answers.
func (k FlowKey) Reverse() FlowKey {
	k.src, k.dst, k.sport, k.dport = k.dst, k.src, k.dport, k.sport
	return k
}

// Ends is the key that both directions have in common, and by which of its ends a packet of this one is sent, and by
// which its answers: the lower one is 0, the higher 1.
func (k FlowKey) Ends() (both FlowKey, from, to int) {
	switch cmp.Or(bytes.Compare(k.src[:], k.dst[:]), cmp.Compare(k.sport, k.dport)) {
	case -1:
		return k, 0, 1
	case 1:
		return k.Reverse(), 1, 0
	}
	return k, 0, 0
}
