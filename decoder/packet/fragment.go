// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// MoreFragments is the lowest bit of a record's fragment field, and of the IPv6 fragment header's offset (RFC 8200, 4.5).
const MoreFragments = 1

// FragmentField is the field of a record that has the offset and whether more follow.
func (p *Packet) FragmentField() uint16 {
	if p.More {
		return p.Fragment | MoreFragments
	}
	return p.Fragment
}

// IsFragment reports whether the packet is a part of another.
func (p *Packet) IsFragment() bool { return p.More || p.Fragment != 0 }

// Part is which bytes of the whole packet's transport header and data a fragment carries.
func (p *Packet) Part() (from, to uint32) {
	from = uint32(p.Fragment)
	return from, from + p.Len - min(p.Len, uint32(p.TransportAt))
}

// Datagram is the size of what a UDP header begins, of which the packet may be the first fragment: bytes behind the header.
func (p *Packet) Datagram() uint32 {
	h := p.TransportHeader()
	if p.Proto != "udp" || p.Fragment != 0 || len(h) < udpSize {
		return p.Payload()
	}
	return uint32(max(binary.BigEndian.Uint16(h[4:]), udpSize) - udpSize)
}
