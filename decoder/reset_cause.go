package decoder

import (
	"slices"
	"time"
)

// event concludes what became known of a reset. silent says that the kernel tells only of resets by full sockets.
func (g *reset) event(silent bool) Event {
	slices.SortStableFunc(g.sent, byTime)
	slices.SortStableFunc(g.received, byTime)
	slices.SortStableFunc(g.hops, byTime)
	first := g.first()
	body := Reset{
		Reason:     "not-told",
		Connection: first.Packet.Flow(),
		Packets:    max(len(g.sent), len(g.received), 1),
		TTL:        g.ttl,
		Answered:   g.answered,
	}
	e := first
	if n := len(g.hops); n > 0 && first.Kind() == KindHop {
		e = g.hops[n-1] // closest to the end that it is for
		e.Time = first.Time
	}
	if sent, ok := g.report(first); ok {
		s := sent.Body.(Sock)
		body.Sent, body.State, body.From = &s, s.State, sent.Netns
	}
	if received, ok := along(g.received, first); ok {
		s := received.Body.(Sock)
		body.Received, body.State = &s, s.State
		body.Connection = received.Packet.Flow() // as the end knows it that was reset
		e.Netns, e.Cgroup, e.Packet = received.Netns, received.Cgroup, received.Packet
		if body.Sent == nil {
			e.PID, e.TID, e.Comm = received.PID, received.TID, received.Comm
		}
	}
	e.Peer, e.Pod = g.ends(first)
	e.ToPod = true
	g.blame(&body, silent)
	e.Body = body
	return e
}

func byTime(a, b Event) int { return a.Time.Compare(b.Time) }

// first is the report of what ended the connection. A socket reports a reset that it sends unasked when the packet is
// out, and may have arrived; and one that refuses data after it was closed says that it received a reset before it
// sends one.
func (g *reset) first() Event {
	var first Event
	for _, reports := range [][]Event{g.sent, g.hops, g.received} {
		for _, e := range reports {
			if first.Body == nil || e.Time.Before(first.Time) {
				first = e
			}
		}
	}
	for _, e := range g.sent {
		s := e.Body.(Sock)
		unasked := s.Trigger == nil && !g.misfits() && e.Time.Sub(first.Time) < sendTime && !first.Packet.Flow().opposes(e.Packet.Flow())
		if s.Reason == "TCP_ABORT_ON_DATA" || unasked {
			return e
		}
	}
	return first
}

// sendTime is how long sending a packet may take, with its whole way through this node, which the task that sends goes
// itself, and may lose its CPU on.
const sendTime = 100 * time.Millisecond

// report returns what the sender of the reset told of it, given what ended the connection.
func (g *reset) report(first Event) (Event, bool) {
	if s, ok := first.Body.(Sock); ok && s.Op == SockResetSent {
		return first, true
	}
	return along(g.sent, first)
}

// along returns the first of the reports about a reset that goes the same way as e.
func along(reports []Event, e Event) (Event, bool) {
	for _, other := range reports {
		if !e.Packet.Flow().opposes(other.Packet.Flow()) {
			return other, true
		}
	}
	return Event{}, false
}

// blame says who sent the reset, and why.
func (g *reset) blame(r *Reset, silent bool) {
	first := g.first()
	switch {
	case first.Kind() == KindSock && r.Sent != nil && first.Body.(Sock).Op == SockResetSent:
		r.Sender, r.Cause = resetCause(*r.Sent, g.destroyed)
		if r.Sent.Reason != "" {
			r.Reason = r.Sent.Reason
		}
	case g.drop != nil:
		d := g.drop.Body.(Drop)
		r.Sender, r.Cause = SenderFirewall, ResetRejected
		r.Drop, r.Dropped, r.DropAt = &d, g.drop.Packet, g.drop.Header
		r.Place, r.Reason = Place(*g.drop), d.Reason
		r.Sent, r.From = nil, 0 // the end in whose name it was sent knew nothing of it
	case g.misfits():
		r.Sender, r.Cause, r.Place, r.Sent, r.From = SenderMiddlebox, ResetForged, g.ttlPlace, nil, 0
	case g.madeHere():
		r.Sender, r.Cause, r.From, r.Guessed = SenderKernel, unsaid(r.State), g.hops[0].Netns, !silent
		if silent && r.Cause == ResetUnknown {
			r.Cause = ResetStale // no full socket sent it
		}
	default:
		r.Sender, r.Cause = SenderPeer, unsaid(r.State)
		if r.State == "" && answersSYN(first.Packet) {
			r.Cause = ResetRefused
		}
	}
}

// unsaid is the cause of a reset that its sender did not report.
func unsaid(state string) ResetCause {
	if state == "SYN_SENT" {
		return ResetRefused
	}
	return ResetUnknown
}

// answersSYN reports whether a reset can only be the answer to a SYN: of what acknowledges anything it would have the
// acknowledged number, and no acknowledgement itself (RFC 9293, 3.5.2).
func answersSYN(p *Packet) bool {
	s, ok := p.Segment()
	return ok && s.Seq == 0 && p.HasFlag('R') && p.HasFlag('.')
}

// madeHere reports whether the reset began its way in a namespace of this node: it left before it arrived anywhere, and
// has a socket of that namespace, or the addresses that it was made with. One that is translated may have come from
// another machine, by a device or under a name that was not watched; so may one of a capture.
func (g *reset) madeHere() bool {
	if len(g.hops) == 0 {
		return false
	}
	first := g.hops[0]
	h := first.Body.(Hop)
	return first.Direction == Out && !h.Captured && (h.SocketNetns != 0 && h.SocketNetns == first.Netns || !h.Conntrack.translated())
}

// resetCause says why this node's kernel sent a reset. destroyed says that the socket was aborted from outside.
func resetCause(s Sock, destroyed bool) (ResetSender, ResetCause) {
	switch {
	case s.Trigger != nil:
		return answerCause(s)
	case destroyed:
		return SenderKernel, ResetDestroyed
	case s.Closing:
		return SenderApp, closeCause(s)
	case s.Reason == "TCP_ABORT_ON_MEMORY":
		return SenderKernel, ResetMemory
	}
	return SenderKernel, ResetTimeout // only timers are left
}

// closeCause says why closing a socket sent a reset rather than a FIN.
func closeCause(s Sock) ResetCause {
	switch {
	case s.Exiting && s.Signal != 0:
		return ResetKilled
	case s.Exiting:
		return ResetExited
	case s.Reason == "TCP_ABORT_ON_CLOSE":
		return ResetUnread
	case s.LingerNo:
		return ResetLinger
	case s.Reason == "" && s.Unread > 0: // no reasons before 6.10
		return ResetUnread
	}
	return ResetDropped
}

// answerCause says why a packet was answered by a reset.
func answerCause(s Sock) (ResetSender, ResetCause) {
	switch {
	case s.State == "LISTEN" && s.Backlog > s.Limit && !isSYN(s.Trigger):
		return SenderKernel, ResetOverflow
	case s.State == "" && isSYN(s.Trigger):
		return SenderKernel, ResetRefused
	case s.Reason == "TCP_ABORT_ON_DATA":
		return SenderApp, ResetEarly
	case s.State == "SYN_SENT" && s.Trigger.HasFlag('.') && !s.Trigger.HasFlag('S'):
		return SenderKernel, ResetOlder
	case slices.Contains([]string{"", "LISTEN", "TIME_WAIT", "SYN_SENT", "SYN_RECV", "NEW_SYN_RECV"}, s.State):
		return SenderKernel, ResetStale
	case slices.Contains([]string{"FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "CLOSE"}, s.State):
		return SenderApp, ResetEarly
	}
	return SenderKernel, ResetInvalid
}
