package eventtest

import (
	"net/netip"

	"ktrace/decoder/packet"
)

// Packet is a packet of a flow, as "address:port > address:port".
func Packet(proto, src, dst, flags string) *packet.Packet {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return &packet.Packet{Proto: proto, Src: s.Addr(), Sport: s.Port(), Dst: d.Addr(), Dport: d.Port(), Flags: flags}
}

func Flow(src, dst string) packet.FlowTuple {
	return packet.FlowTuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}
