// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// attempt is one attempt to connect, without an answer so far.
type attempt struct {
	first      event.Event // the SYN where it was first seen, or what its socket reported first
	latest     time.Time   // of what is known of its SYNs
	syns       uint32      // sent
	timeouts   uint32
	sock       event.Flow // what its socket reported last, if it did
	local      bool       // it did
	ended      bool       // and that the attempt failed
	hops       []event.Sight
	last       *event.Sight // of the SYN
	answerLast *event.Sight
	drop       *event.Loss
	icmp       *event.ICMP
	backend    netip.AddrPort
	overflowed bool

	flows    []flowAt
	journeys []uint64
	entry    *bounded.Entry[*attempt]
	due      time.Time
	judged   bool
	over     bool // answered, failed, or forgotten
}

// Bounds of what is kept of an attempt, and what that takes in bytes, about.
const (
	maxAttemptHops     = 32
	maxAttemptFlows    = 16
	maxAttemptJourneys = 8 // of SYNs that are sent again, the latest
	attemptSize        = 1 << 10
	attemptSight       = 300
	attemptFlow        = 120
)

func (a *attempt) size() int {
	return attemptSize + len(a.hops)*attemptSight + len(a.flows)*attemptFlow
}

// reported takes in what the socket says.
func (a *attempt) reported(e event.Event, f event.Flow) {
	a.sock, a.local, a.ended, a.latest = f, true, f.State == event.FlowFailed, e.Time
	a.syns, a.timeouts = max(a.syns, f.SYNs), f.Timeouts
	if a.first.PID == 0 {
		a.first.PID, a.first.TID, a.first.Comm = e.PID, e.TID, e.Comm
	}
	if a.first.Cgroup == 0 {
		a.first.Cgroup = e.Cgroup
	}
	if from, to := a.first.Ends(); from.String() == "" { // the packet alone did not say whose it is
		a.first.Pod, a.first.ToPod, a.first.Peer = e.Pod, false, to
	}
}

// captured reports whether the attempt is known from a capture.
func (a *attempt) captured() bool {
	h, ok := a.first.Body.(event.Hop)
	return ok && h.Captured
}

// keep keeps a place on the way.
func (a *attempt) keep(s event.Sight) {
	if len(a.hops) < maxAttemptHops {
		a.hops = append(a.hops, s)
	}
}

// seen takes in where the SYN is.
func (a *attempt) seen(s event.Sight) {
	a.keep(s)
	a.last, a.drop = &s, nil // what was dropped was a copy
	if s.Conntrack.DNAT() {
		a.backend = s.Conntrack.Reply.Src
	}
}

// again takes in that the SYN is sent again: its way begins anew.
func (a *attempt) again(now time.Time) {
	a.syns++
	a.latest = now
	a.hops, a.last, a.answerLast, a.drop = nil, nil, nil, nil
}

// begins reports whether a SYN is where the attempt was first seen.
func (a *attempt) begins(e event.Event) bool {
	return e.Netns == a.first.Netns && e.Ifindex == a.first.Ifindex && e.Direction == a.first.Direction
}

// returns reports whether a packet to the client is back where the attempt was first seen. Of an attempt that only its socket
// reported, that is its namespace.
func (a *attempt) returns(e event.Event) bool {
	if e.Netns != a.first.Netns {
		return false
	}
	switch a.first.Direction {
	case "":
		return e.Direction != event.Out || a.captured()
	case event.Out:
		return e.Direction == event.In
	}
	return e.Direction == event.Out && e.Ifindex == a.first.Ifindex
}

// server is whom the client asked: behind its own translation, what it asked for.
func (a *attempt) server() netip.AddrPort {
	if len(a.hops) > 0 && a.hops[0].Conntrack.DNAT() {
		return a.hops[0].Conntrack.Original.Dst
	}
	return a.first.Packet.Destination()
}

// passing reports whether neither end is known to be of this node, nor does it translate the flow: the answer may go another
// way then, as with direct server return.
func (a *attempt) passing() bool {
	return !a.local && !a.captured() && a.first.Direction == event.In && a.last != nil && a.last.Direction == event.Out &&
		a.last.Netns == a.first.Netns && !a.last.Conntrack.Translated()
}

// flow is what is known of the attempt.
func (a *attempt) flow() event.Flow {
	f := event.Flow{
		State: event.FlowConnecting, SYNs: a.syns, Timeouts: a.timeouts, Took: a.latest.Sub(a.first.Time),
		Server: a.server(), Backend: a.backend, ClientNetns: a.first.Netns, Local: a.local || a.first.Direction == event.Out && !a.captured(),
		Last: a.last, AnswerLast: a.answerLast, Drop: a.drop, ICMP: a.icmp, Captured: a.captured(), Overflowed: a.overflowed, Hops: a.hops,
	}
	if a.ended {
		f.State, f.Error, f.SoftError = event.FlowFailed, a.sock.Error, a.sock.SoftError
	}
	return f
}
