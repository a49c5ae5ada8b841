package decoder

import (
	"net/netip"
)

// connection is a flow whichever way a packet of it goes.
type connection struct{ low, high netip.AddrPort }

func connectionOf(f FlowTuple) connection {
	if f.Src.Compare(f.Dst) > 0 {
		return connection{f.Dst, f.Src}
	}
	return connection{f.Src, f.Dst}
}

// opposes reports whether the two flows go in opposite directions of one connection, of which either end may be
// called by another address in one of them.
func (f FlowTuple) opposes(g FlowTuple) bool { return f.Src == g.Dst || f.Dst == g.Src }

// isSYN reports whether the packet begins a connection.
func isSYN(p *Packet) bool { return p != nil && p.HasFlag('S') && !p.HasFlag('.') }

// FlowTuple is one direction of a flow as conntrack keeps it.
type FlowTuple struct {
	Src netip.AddrPort `json:"src"`
	Dst netip.AddrPort `json:"dst"`
}

// firstEphemeral is the lowest port that Linux picks by itself (ip_local_port_range).
const firstEphemeral = 32768

// asks reports whether a packet goes from a client to a server, or comes back; neither if that cannot be known.
func (p *Packet) asks() (asks, answers bool) {
	switch {
	case p.HasFlag('S'):
		return !p.HasFlag('.'), p.HasFlag('.')
	case p.IsICMP(8, 128):
		return true, false
	case p.IsICMP(0, 129):
		return false, true
	case p.Sport == 0: // of a connect that failed before it had a port, or of a datagram that wants no answer
		return true, false
	case p.Sport >= firstEphemeral && p.Dport >= firstEphemeral:
		return false, false
	}
	return p.Sport >= p.Dport, p.Sport < p.Dport
}

// begins reports whether a packet begins an exchange, or is the first answer in one.
func (p *Packet) begins() bool {
	return p.Proto == "tcp" && p.HasFlag('S') || p.Proto == "udp" || p.IsICMP(8, 128) || p.IsICMP(0, 129)
}
