package decoder

import (
	"net/netip"
	"time"
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

// alias is a translated connection, as conntrack has it.
type alias struct {
	connection      connection // by its name before translation
	original, reply FlowTuple
	when            time.Time
}

// aliases are the translated connections, by their names before translation and behind it.
type aliases map[connection]alias

// of returns the connection that a flow belongs to, by its name before translation.
func (a aliases) of(f FlowTuple) connection {
	c := connectionOf(f)
	if known, ok := a[c]; ok {
		return known.connection
	}
	return c
}

// forget takes out a translated connection, under both names.
func (a aliases) forget(known alias) {
	delete(a, connectionOf(known.original))
	delete(a, connectionOf(known.reply))
}

// isSYN reports whether the packet begins a connection.
func isSYN(p *Packet) bool { return p != nil && p.HasFlag('S') && !p.HasFlag('.') }
