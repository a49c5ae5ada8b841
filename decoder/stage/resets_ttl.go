// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// sighting is one direction of a connection at one device.
type sighting struct {
	flow    packet.FlowTuple
	netns   uint32
	ifindex uint32
}

// ttlSeen is the TTL of a packet that is no reset.
type ttlSeen struct {
	ttl  uint8
	id   uint32
	syn  bool // it began the connection
	when time.Time
}

// compare keeps the TTL of a packet on its way in, for a reset of the same end to be compared with. Captures of others do
// not say which way it went.
func (r *Resets) compare(e event.Event) {
	p := e.Packet
	if e.Direction == event.Out {
		return
	}
	at := sighting{p.Flow(), e.Netns, e.Ifindex}
	if seen, ok := r.ttls.Get(at); ok && !seen.syn && !p.HasFlag('S') {
		return
	}
	r.ttls.Put(at, ttlSeen{p.TTL, p.ID, packet.IsSYN(p), e.Time})
	if p.HasFlag('S') && p.HasFlag('.') {
		if g, ok := r.open.Get(r.names.of(p.Flow())); ok {
			g.late(e)
		}
	}
}

// measure takes in the TTL of a reset at a device.
func (r *Resets) measure(g *reset, e event.Event) {
	seen, ok := r.ttls.Get(sighting{e.Packet.Flow(), e.Netns, e.Ifindex})
	if !ok || e.Direction == event.Out || g.ttl != nil {
		return
	}
	g.ttl = &event.TTLs{Reset: e.Packet.TTL, Peer: seen.ttl, ResetID: e.Packet.ID, PeerID: seen.id}
	g.ttlPlace, g.ttlOfSYN = event.Place(e), seen.syn
}

// late takes in a SYN-ACK that comes after the reset of the same end: that end did not refuse, unless it was asked again.
func (g *reset) late(e event.Event) {
	first := g.first()
	if g.begunAnew || first.Packet.Flow().Opposes(e.Packet.Flow()) || !e.Time.After(first.Time) {
		return
	}
	g.answered = true
	for _, hop := range g.hops {
		if hop.Direction != event.Out && hop.Netns == e.Netns && hop.Ifindex == e.Ifindex && g.ttl == nil {
			g.ttl = &event.TTLs{Reset: hop.Packet.TTL, Peer: e.Packet.TTL, ResetID: hop.Packet.ID, PeerID: e.Packet.ID}
			g.ttlPlace = event.Place(e)
		}
	}
}

// misfits reports whether the reset came another way than the rest of what the same end sent. What scans sends SYNs with
// whatever TTL, and its kernel resets what comes of them: a SYN is proof only where a connection was made.
func (g *reset) misfits() bool {
	return g.answered || g.ttl != nil && g.ttl.Apart() > 0 && (!g.ttlOfSYN || g.established())
}

// established reports whether an end of the connection took it for made.
func (g *reset) established() bool {
	for _, reports := range [][]event.Event{g.sent, g.received} {
		for _, e := range reports {
			switch e.Body.(event.Sock).State {
			case "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK", "CLOSING":
				return true
			}
		}
	}
	return false
}
