// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// A capture may have one direction of the traffic only, and so may a node that passes on what others ask: then answers are
// missing that came. That they did not come is known where other packets of the server to the client were captured, or
// where the client itself asks again.

// between is who sends packets to whom.
type between struct{ from, to netip.Addr }

// listen takes in a captured packet: something of what is sent to a client is in the capture.
func (s *Stage) listen(p *packet.Packet) {
	if _, asks := s.clients.Get(p.Dst); asks {
		s.heard.Put(between{p.Src, p.Dst}, true)
	}
}

// oneSided reports whether the answer of a query may have come without being seen.
func (s *Stage) oneSided(q *query) bool {
	if q.repeated {
		return false
	}
	if !q.captured {
		return q.passing()
	}
	_, heard := s.heard.Get(between{q.first.Packet.Dst, q.first.Packet.Src})
	return !heard
}

// passing reports whether neither the client nor the server of a query is on this node, nor does the node translate it, so
// that what comes back must pass here. The answer may go another way then, as with direct server return.
func (q *query) passing() bool {
	last := q.last
	return q.first.Direction == event.In && last != nil && last.Direction == event.Out && last.Netns == q.first.Netns &&
		!last.Conntrack.DNAT() && !last.Conntrack.SNAT()
}
