// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// initiator is who began a connection.
type initiator struct {
	addr netip.AddrPort
	when time.Time
}

// begins takes in a SYN. What was seen of an earlier connection of the same ends says nothing of the new one.
func (r *Resets) begins(e event.Event) {
	flow := e.Packet.Flow()
	if a, ok := r.names.Get(packet.ConnectionOf(flow)); ok && a.reply.Reverse() == flow && leavesItsSocket(e) {
		r.names.forget(a)
	}
	c := r.names.of(flow)
	if c == packet.ConnectionOf(flow) { // else it is translated already
		r.clients.Put(c, initiator{flow.Src, e.Time})
	}
	r.ttls.Delete(sighting{flow.Reverse(), e.Netns, e.Ifindex})
	if g, ok := r.open.Get(c); ok && e.Time.After(g.first().Time) {
		g.begunAnew = true
	}
}

// leavesItsSocket reports whether a packet is where its sender made it: it has the addresses that were asked for. Those of a
// backend say that the backend itself was, by ports that a connection to its service had before.
func leavesItsSocket(e event.Event) bool {
	h, ok := e.Body.(event.Hop)
	return ok && e.Direction == event.Out && h.SocketNetns != 0 && h.SocketNetns == e.Netns && !h.Conntrack.Translated()
}

// conclude makes the event of a reset that is complete.
func (r *Resets) conclude(g *reset, now time.Time) event.Event {
	e := g.event(r.silent)
	b := e.Body.(event.Reset)
	said := b.Sent != nil || b.Drop != nil || b.Sender == event.SenderMiddlebox
	if gap, lossy := r.gaps.Within(e.Time.Add(-rejectHold), now); lossy && !said { // another would have reported it, or a rule
		b.Sender, b.Lost = event.SenderUnknown, &gap
	}
	c := r.names.of(b.Connection)
	if began, ok := r.clients.Get(c); ok && began.addr == b.Connection.Src {
		b.Server = b.Connection.Dst
	} else if ok && began.addr == b.Connection.Dst {
		b.Server = b.Connection.Src
	}
	if a, ok := r.names.Get(c); ok {
		if b.Server == a.original.Dst {
			b.Backend = a.reply.Src
		}
		if g.answersUntranslated(a) {
			b.Cause, b.Original, b.Server, b.Backend = event.ResetUntranslated, a.original, a.reply.Src, netip.AddrPort{}
		}
	}
	e.Body = b
	return e
}

// answersUntranslated reports whether the client of a translated connection resets what the backend sent it, as it came
// with the backend's own address: seen where the client sends it, before anything is translated.
func (g *reset) answersUntranslated(a alias) bool {
	first := g.first()
	if first.Packet.Flow() != a.reply.Reverse() || a.reply.Src == a.original.Dst {
		return false
	}
	switch b := first.Body.(type) {
	case event.Sock:
		return b.Op == event.SockResetSent && b.Trigger != nil
	case event.Hop:
		return g.madeHere() && !b.Conntrack.DNAT()
	}
	return false
}

// ends are the pods of who sent the reset and of whom it hit. The socket that reports it knows best, then the packet where
// it is nearest to that end.
func (g *reset) ends(first event.Event) (sender, hit event.Pod) {
	sender = nearest(slices.Concat(g.sent, g.hops, g.received), first, func(e event.Event) event.Pod { from, _ := e.Ends(); return from })
	back := slices.Clone(g.hops)
	slices.Reverse(back)
	hit = nearest(slices.Concat(g.received, back, g.sent), first, func(e event.Event) event.Pod { _, to := e.Ends(); return to })
	return sender, hit
}

// nearest is the first pod, else the first service, that the reports about a reset which goes the same way as first name.
func nearest(reports []event.Event, first event.Event, end func(event.Event) event.Pod) event.Pod {
	var service event.Pod
	for _, e := range reports {
		if e.Packet.Flow().Opposes(first.Packet.Flow()) {
			continue
		}
		p := end(e)
		if p.UID != "" {
			return p
		}
		if service == (event.Pod{}) {
			service = p
		}
	}
	return service
}
