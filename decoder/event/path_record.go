// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// tupleFlow is a record's tuple with addresses of their own family.
func tupleFlow(t *wire.Tuple) packet.FlowTuple {
	src, dst := netip.AddrFrom16(t.Src), netip.AddrFrom16(t.Dst)
	if t.Family == 4 {
		src, dst = src.Unmap(), dst.Unmap()
	}
	return packet.FlowTuple{Src: netip.AddrPortFrom(src, t.Sport), Dst: netip.AddrPortFrom(dst, t.Dport)}
}

// pathPacket returns the headers and bytes of a record.
func pathPacket(r *wire.Path) *packet.Packet {
	flow := tupleFlow(&r.Packet)
	p := &packet.Packet{
		Family:      packet.FamilyName(r.Packet.Family),
		Proto:       packet.ProtoName(r.Packet.Proto),
		Src:         flow.Src.Addr(),
		Sport:       r.Packet.Sport,
		Dst:         flow.Dst.Addr(),
		Dport:       r.Packet.Dport,
		Len:         r.Len,
		TTL:         r.Ttl,
		ID:          r.Id,
		Fragment:    r.Fragment &^ packet.MoreFragments,
		More:        r.Fragment&packet.MoreFragments != 0,
		ICMPType:    r.IcmpType,
		ICMPCode:    r.IcmpCode,
		TransportAt: r.L4,
		DataAt:      r.Data,
	}
	if p.Proto == "tcp" {
		p.Flags = packet.FlagsText(r.TcpFlags)
	}
	if n := min(int(r.Taken), len(r.Bytes)); n > 0 {
		p.Bytes = append([]byte(nil), r.Bytes[:n]...)
	}
	p.DecodeInner(int(r.Inner))
	return p
}

// pathConntrack returns the entry of a record, nil if it has none.
func pathConntrack(r *wire.Path) *Conntrack {
	if r.Original.Family == 0 {
		return nil
	}
	c := &Conntrack{Original: tupleFlow(&r.Original), Reply: tupleFlow(&r.Reply), bits: r.Status}
	for i, name := range conntrackStatus {
		if r.Status&(1<<i) != 0 {
			c.Status = append(c.Status, name)
		}
	}
	return c
}

// pathHeader completes the event of a packet.
func pathHeader(r *wire.Path, e *Event) {
	e.Packet = pathPacket(r)
	switch wire.PathDirection(r.Direction) {
	case wire.DirectionIn:
		e.Direction = In
	case wire.DirectionOut:
		e.Direction = Out
	}
}
