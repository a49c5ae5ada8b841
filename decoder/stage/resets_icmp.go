// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"slices"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// refusal is a packet that was answered by an ICMP error: a host rejects it, or cannot forward it.
type refusal struct {
	event  event.Event // the error, or the drop
	answer event.Answer
	flow   packet.FlowTuple // of the packet
	drop   *event.Event     // by netfilter, nil if that did not drop it
	due    time.Time
}

// refusals are those whose rule may still be found, and those that are finished, so that the next packet of the same
// flow makes no new one.
type refusals struct {
	open  *bounded.Table[sentFlow, *refusal]
	early []*refusal // of open, evicted
	over  bounded.Map[sentFlow, time.Time]
}

// init makes the tables.
func (r *refusals) init() {
	r.open = bounded.NewTableEvict(maxHeld, func(key sentFlow, x *refusal) {
		r.early = append(r.early, x)
		r.over.Put(key, x.event.Time)
	})
}

// evicted concludes what there was no room for any more.
func (r *refusals) evicted() []event.Event {
	var events []event.Event
	for _, x := range r.early {
		events = append(events, x.conclude())
	}
	r.early = r.early[:0]
	return events
}

// hop takes in an ICMP error at a device. Those about the size or the age of a packet are no refusals.
func (r *refusals) hop(e event.Event) {
	about := e.Packet.Quoted()
	if about == nil || !e.Packet.IsICMP(packet.ICMPUnreachable, packet.ICMPv6Unreachable) {
		return
	}
	a := event.Answer{Name: e.Packet.ICMPName(), From: e.Packet.Src}
	if a.Name == "fragmentation-needed" {
		return
	}
	key := sentFlow{about.Proto, about.Flow()}
	if _, held := r.open.Get(key); held {
		return
	}
	if over, ok := r.over.Get(key); ok && e.Time.Sub(over) < echoHold {
		return
	}
	r.open.Put(event.OwnerAt(e), key, &refusal{event: e, answer: a, flow: about.Flow(), due: e.Time.Add(ruleHold)}, 1)
}

// rejected takes in a packet that netfilter dropped: the error that answers it came before.
func (r *refusals) rejected(e event.Event, d event.Drop) {
	if d.Answer == nil || d.Answer.Name == event.AnswerReset {
		return
	}
	flows := []packet.FlowTuple{e.Packet.Flow()}
	if d.Conntrack != nil { // the error has the addresses that its receiver knows
		flows = append(flows, d.Conntrack.Original, d.Conntrack.Reply)
	}
	for _, f := range flows {
		if x, ok := r.open.Get(sentFlow{e.Packet.Proto, f}); ok && x.drop == nil {
			x.drop, x.due = &e, e.Time.Add(ruleHold)
			return
		}
	}
}

// flush returns what has waited long enough.
func (r *refusals) flush(now time.Time, final bool, awaits func(drop *event.Event, now time.Time) bool) []event.Event {
	var done []*refusal
	for key, x := range r.open.All() {
		if final || !now.Before(x.due) && !awaits(x.drop, now) {
			done = append(done, x)
			r.open.Delete(key)
			r.over.Put(key, now)
		}
	}
	slices.SortFunc(done, func(a, b *refusal) int { return a.event.Time.Compare(b.event.Time) })
	events := make([]event.Event, 0, len(done))
	for _, x := range done {
		events = append(events, x.conclude())
	}
	return events
}

func (r *refusals) prune(now time.Time) {
	r.over.Expire(func(over time.Time) bool { return now.Sub(over) > echoHold })
}

// conclude says who refused the packet, and why.
func (x *refusal) conclude() event.Event {
	e := x.event
	b := event.Reset{Reason: x.answer.Name, Connection: x.flow.Reverse(), Answer: &x.answer, Refused: e.Packet.Quoted(), Place: event.Place(e)}
	switch {
	case x.drop != nil:
		d := x.drop.Body.(event.Drop)
		b.Sender, b.Cause = event.SenderFirewall, event.ResetRejected
		b.Drop, b.Dropped, b.DropAt, b.Place = &d, x.drop.Packet, x.drop.Header, event.Place(*x.drop)
		e.Pod, e.Peer = x.drop.Ends()
	default:
		b.Sender, b.Cause = x.sender(), x.cause()
		e.Peer, e.Pod = e.Ends()
		if x.answer.From != x.flow.Dst.Addr() {
			e.Peer = event.Pod{} // it is a router's message
		}
	}
	e.ToPod = true // the error
	e.Body = b
	return e
}

// sender says who sent an error that no rule of this node did.
func (x *refusal) sender() event.ResetSender {
	switch {
	case x.event.Direction == event.Out:
		return event.SenderKernel
	case x.answer.From == x.flow.Dst.Addr():
		return event.SenderPeer
	}
	return event.SenderMiddlebox
}

// cause says why.
func (x *refusal) cause() event.ResetCause {
	switch name := x.answer.Name; {
	case name == "port-unreachable" || name == "protocol-unreachable":
		return event.ResetRefused
	case strings.HasSuffix(name, "-prohibited") || name == "policy-failed" || name == "route-rejected":
		return event.ResetRejected
	}
	return event.ResetUnreachable
}
