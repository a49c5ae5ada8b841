// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// event is the reset with its sender and cause. silent says that the kernel reports resets of full sockets only.
func (g *reset) event(silent bool) event.Event {
	slices.SortStableFunc(g.sent, byTime)
	slices.SortStableFunc(g.received, byTime)
	slices.SortStableFunc(g.hops, byTime)
	first := g.first()
	body := event.Reset{
		Reason:     event.ReasonNotReported,
		Connection: first.Packet.Flow(),
		Packets:    max(len(g.sent), len(g.received), 1),
		TTL:        g.ttl,
		Answered:   g.answered,
	}
	e := first
	if n := len(g.hops); n > 0 && first.Kind() == event.KindHop {
		e = g.hops[n-1] // closest to the end that it is for
		e.Time = first.Time
	}
	if sent, ok := g.report(first); ok {
		s := sent.Body.(event.Sock)
		body.Sent, body.State, body.From = &s, s.State, sent.Netns
	}
	if received, ok := along(g.received, first); ok {
		s := received.Body.(event.Sock)
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

func byTime(a, b event.Event) int { return a.Time.Compare(b.Time) }

// first is the report of what ended the connection. A socket reports a reset that it sends unasked when the packet is
// out, and may have arrived; and one that refuses data after it was closed says that it received a reset before it
// sends one.
func (g *reset) first() event.Event {
	var first event.Event
	for _, reports := range [][]event.Event{g.sent, g.hops, g.received} {
		for _, e := range reports {
			if first.Body == nil || e.Time.Before(first.Time) {
				first = e
			}
		}
	}
	for _, e := range g.sent {
		s := e.Body.(event.Sock)
		unasked := s.Trigger == nil && !g.misfits() && e.Time.Sub(first.Time) < sendTime && !first.Packet.Flow().Opposes(e.Packet.Flow())
		if s.Reason == "TCP_ABORT_ON_DATA" || unasked {
			return e
		}
	}
	return first
}

// sendTime is how long sending a packet may take, with its whole way through this node, which the task that sends goes
// itself, and may lose its CPU on.
const sendTime = 100 * time.Millisecond

// report is what the sender of the reset reported, given what ended the connection.
func (g *reset) report(first event.Event) (event.Event, bool) {
	if s, ok := first.Body.(event.Sock); ok && s.Op == event.SockResetSent {
		return first, true
	}
	return along(g.sent, first)
}

// along returns the first of the reports about a reset that goes the same way as e.
func along(reports []event.Event, e event.Event) (event.Event, bool) {
	for _, other := range reports {
		if !e.Packet.Flow().Opposes(other.Packet.Flow()) {
			return other, true
		}
	}
	return event.Event{}, false
}

// blame says who sent the reset, and why.
func (g *reset) blame(r *event.Reset, silent bool) {
	first := g.first()
	switch {
	case first.Kind() == event.KindSock && r.Sent != nil && first.Body.(event.Sock).Op == event.SockResetSent:
		r.Sender, r.Cause = resetCause(*r.Sent, g.destroyed)
		if r.Sent.Reason != "" {
			r.Reason = r.Sent.Reason
		}
	case g.drop != nil:
		d := g.drop.Body.(event.Drop)
		r.Sender, r.Cause = event.SenderFirewall, event.ResetRejected
		r.Drop, r.Dropped, r.DropAt = &d, g.drop.Packet, g.drop.Header
		r.Place, r.Reason = event.Place(*g.drop), d.Reason
		r.Sent, r.From = nil, 0 // the end in whose name it was sent knew nothing of it
	case r.Received != nil && r.Received.ForgedBy != "":
		r.Sender, r.Cause, r.Sent, r.From = event.SenderMiddlebox, event.ResetForged, nil, 0
	case g.misfits():
		r.Sender, r.Cause, r.Place, r.Sent, r.From = event.SenderMiddlebox, event.ResetForged, g.ttlPlace, nil, 0
	case g.madeHere():
		r.Sender, r.Cause, r.From, r.Guessed = event.SenderKernel, unsaid(r.State), g.hops[0].Netns, !silent
		if silent && r.Cause == event.ResetUnknown {
			r.Cause = event.ResetStale // no full socket sent it
		}
	default:
		r.Sender, r.Cause = event.SenderPeer, unsaid(r.State)
		if r.State == "" && answersSYN(first.Packet) {
			r.Cause = event.ResetRefused
		}
	}
}

// unsaid is the cause of a reset that its sender did not report.
func unsaid(state string) event.ResetCause {
	if state == "SYN_SENT" {
		return event.ResetRefused
	}
	return event.ResetUnknown
}

// answersSYN reports whether a reset can only be the answer to a SYN: of what acknowledges anything it would have the
// acknowledged number, and no acknowledgement itself (RFC 9293, 3.5.2).
func answersSYN(p *packet.Packet) bool {
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
	h := first.Body.(event.Hop)
	return first.Direction == event.Out && !h.Captured && (h.SocketNetns != 0 && h.SocketNetns == first.Netns || !h.Conntrack.Translated())
}

// resetCause says why this node's kernel sent a reset. destroyed says that the socket was aborted from outside.
func resetCause(s event.Sock, destroyed bool) (event.ResetSender, event.ResetCause) {
	switch {
	case s.Trigger != nil:
		return answerCause(s)
	case destroyed:
		return event.SenderKernel, event.ResetDestroyed
	case s.Closing:
		return event.SenderApp, closeCause(s)
	case s.Reason == "TCP_ABORT_ON_MEMORY":
		return event.SenderKernel, event.ResetMemory
	}
	return event.SenderKernel, event.ResetTimeout // only timers are left
}

// closeCause says why closing a socket sent a reset rather than a FIN.
func closeCause(s event.Sock) event.ResetCause {
	switch {
	case s.Exiting && s.Signal != 0:
		return event.ResetKilled
	case s.Exiting:
		return event.ResetExited
	case s.Reason == "TCP_ABORT_ON_CLOSE":
		return event.ResetUnread
	case s.LingerNo:
		return event.ResetLinger
	case s.Reason == "" && s.Unread > 0: // no reasons before 6.10
		return event.ResetUnread
	}
	return event.ResetDisconnected
}

// answerCause says why a packet was answered by a reset.
func answerCause(s event.Sock) (event.ResetSender, event.ResetCause) {
	switch {
	case s.State == "LISTEN" && s.Backlog > s.Limit && !packet.IsSYN(s.Trigger):
		return event.SenderKernel, event.ResetOverflow
	case s.State == "" && packet.IsSYN(s.Trigger):
		return event.SenderKernel, event.ResetRefused
	case s.Reason == "TCP_ABORT_ON_DATA":
		return event.SenderApp, event.ResetDataAfterExit
	case s.State == "SYN_SENT" && s.Trigger.HasFlag('.') && !s.Trigger.HasFlag('S'):
		return event.SenderKernel, event.ResetOlder
	case slices.Contains([]string{"", "LISTEN", "TIME_WAIT", "SYN_SENT", "SYN_RECV", "NEW_SYN_RECV"}, s.State):
		return event.SenderKernel, event.ResetStale
	case slices.Contains([]string{"FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "CLOSE"}, s.State):
		return event.SenderApp, event.ResetDataAfterExit
	}
	return event.SenderKernel, event.ResetInvalid
}
