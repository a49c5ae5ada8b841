package decoder

import "net/netip"

// fromTo is a packet of a flow, as "address:port > address:port".
func fromTo(proto, src, dst, flags string) *Packet {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return &Packet{Proto: proto, Src: s.Addr(), Sport: s.Port(), Dst: d.Addr(), Dport: d.Port(), Flags: flags}
}

func flowOf(src, dst string) FlowTuple {
	return FlowTuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}
