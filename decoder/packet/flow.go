// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
)

// Connection is a flow whichever way a packet of it goes.
type Connection struct{ low, high netip.AddrPort }

func ConnectionOf(f FlowTuple) Connection {
	if f.Src.Compare(f.Dst) > 0 {
		return Connection{f.Dst, f.Src}
	}
	return Connection{f.Src, f.Dst}
}

// Opposes reports whether the two flows go in opposite directions of one connection, of which either end may be
// called by another address in one of them.
func (f FlowTuple) Opposes(g FlowTuple) bool { return f.Src == g.Dst || f.Dst == g.Src }

// IsSYN reports whether the packet begins a connection.
func IsSYN(p *Packet) bool { return p != nil && p.HasFlag('S') && !p.HasFlag('.') }

// FlowTuple is one direction of a flow as conntrack keeps it.
type FlowTuple struct {
	Src netip.AddrPort `json:"src"`
	Dst netip.AddrPort `json:"dst"`
}

// FirstEphemeral is the lowest port that Linux picks by itself (ip_local_port_range).
const FirstEphemeral = 32768

// RequestOrReply reports whether a packet goes from a client to a server, or comes back; neither if that cannot be known.
func (p *Packet) RequestOrReply() (asks, answers bool) {
	switch {
	case p.HasFlag('S'):
		return !p.HasFlag('.'), p.HasFlag('.')
	case p.IsICMP(8, 128):
		return true, false
	case p.IsICMP(0, 129):
		return false, true
	case p.Sport == 0: // of a connect that failed before it had a port, or of a datagram that wants no answer
		return true, false
	case p.Sport >= FirstEphemeral && p.Dport >= FirstEphemeral:
		return false, false
	}
	return p.Sport >= p.Dport, p.Sport < p.Dport
}

// BeginsExchange reports whether a packet begins an exchange, or is the first answer in one.
func (p *Packet) BeginsExchange() bool {
	return p.Proto == "tcp" && p.HasFlag('S') || p.Proto == "udp" || p.IsICMP(8, 128) || p.IsICMP(0, 129)
}
