// SPDX-License-Identifier: Apache-2.0

// Package eventtest makes packets and flows for tests.
package eventtest

import (
	"net/netip"

	"ktrace/decoder/packet"
)

// Packet is one of a flow between two address:port, of which nothing else is known.
func Packet(proto, src, dst, flags string) *packet.Packet {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return &packet.Packet{Proto: proto, Src: s.Addr(), Sport: s.Port(), Dst: d.Addr(), Dport: d.Port(), Flags: flags}
}

// Flow is from one address:port to another.
func Flow(src, dst string) packet.FlowTuple {
	return packet.FlowTuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}
