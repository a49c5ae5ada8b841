// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// key finds a query by its flow as seen somewhere, and its id.
type key struct {
	flow packet.FlowTuple
	id   uint16
}

// question is what a client asks, whatever socket and server it asks by.
type question struct {
	netns       uint32
	client      netip.Addr
	name, qtype string
}

// query is one query and what is known of it so far.
type query struct {
	first    event.Event // where it was first seen
	msg      message
	standing standing
	attempts int
	due      time.Time // when to judge it
	closed   bool
	became   event.DNSOutcome       // once it is closed
	held     *bounded.Entry[*query] // of the stage's pool it is in; nil over TCP
	captured bool                   // its packets are a capture's
	repeated bool                   // before it was answered

	keys     []key
	journeys []uint64
	hops     []event.Sight
	last     *event.Sight // of the query
	backend  netip.AddrPort

	answer     *message
	answerAt   time.Time // first seen
	answerSize uint32    // bytes
	answerLast *event.Sight
	answerFrom netip.AddrPort // set if an answer of another than who was asked reached the client
	answerTo   netip.AddrPort // the same if it was sent to another port than the query's
	delivered  bool
	expected   bool   // the answer is seen where the query began if it comes there
	parts      *parts // of the answer, at the client or where they went farthest; nil if it came in one piece
	later      *bool  // whether fragments behind a first are seen at all
	partLost   bool   // loss is of one of them
	loss       *event.Loss
	icmp       *event.ICMP

	ending *event.DNSConnection // over TCP: how the connection ended before the answer came
	unsent bool                 // over TCP: nothing was asked
	retry  bool                 // over TCP, because the answer over UDP did not fit
}

// Bounds of what is kept of a query.
const (
	maxHops = 64 // sights: a routing loop takes up to 255
	maxKeys = 64 // three of each place where it is translated
)

// What a query takes, and each of what it keeps, in bytes, about: with its share of the maps that find it.
const (
	querySize = 1200
	keySize   = 280
	sightSize = 300
	idSize    = 48
)

// size is about what the query takes, in whole kilobytes: most of what happens to it changes nothing.
func (q *query) size() int {
	n := querySize + len(q.first.Packet.Bytes) + len(q.msg.name) + len(q.keys)*keySize + len(q.hops)*sightSize + len(q.journeys)*idSize
	if q.answer != nil {
		for _, a := range q.answer.answers {
			n += len(a) + 2*idSize
		}
	}
	return (n + 1<<10 - 1) &^ (1<<10 - 1)
}

// close ends a query: what is kept is by what it is known, for a retry or a late packet, and what became of it.
func (q *query) close() {
	q.closed, q.became = true, q.outcome()
	p := *q.first.Packet
	p.Bytes, p.Tunnel = nil, nil
	q.first.Packet, q.first.Body = &p, nil
	q.hops, q.last, q.answer, q.answerLast, q.parts, q.loss, q.icmp, q.ending = nil, nil, nil, nil, nil, nil, nil, nil
}

func (q *query) question() question {
	return question{q.first.Netns, q.first.Packet.Src, q.msg.name, q.msg.qtype}
}

func (q *query) keep(s event.Sight) {
	if len(q.hops) < maxHops {
		q.hops = append(q.hops, s)
	}
}

// seen takes in where the query is.
func (q *query) seen(s event.Sight) {
	q.keep(s)
	q.last = &s
	q.loss = nil // what was dropped was a copy
	if s.Conntrack.DNAT() {
		q.backend = s.Conntrack.Reply.Src
	}
}

// begins reports whether the packet is where the query began, so that it is the same asked again.
func (q *query) begins(e event.Event) bool {
	return e.Netns == q.first.Netns && e.Ifindex == q.first.Ifindex && e.Direction == q.first.Direction
}

// atClient reports whether what goes back to the client has reached the place where the query was first seen.
func (q *query) atClient(e event.Event) bool {
	if e.Netns != q.first.Netns || e.Direction == q.first.Direction {
		return false
	}
	return q.first.Direction == event.Out || e.Ifindex == q.first.Ifindex
}

// sentHere reports whether the query was first seen as it left its client's namespace, live.
func (q *query) sentHere() bool { return !q.captured && q.first.Direction == event.Out }

// returned is atClient, and of a capture that says of no packet which way it went, whether it is at the query's place.
func (q *query) returned(e event.Event) bool {
	return q.atClient(e) || e.Direction == "" && q.first.Direction == "" && e.Netns == q.first.Netns && e.Ifindex == q.first.Ifindex
}

// answered takes in where the answer is, and whether it has returned to where the query began.
func (q *query) answered(s event.Sight, returned bool) {
	s.Answer = true
	q.keep(s)
	q.answerLast = &s
	if q.loss != nil && q.loss.Answer && !q.partLost {
		q.loss = nil // what was dropped was a copy
	}
	if !returned {
		return
	}
	want := q.expects(s.Flow)
	q.delivered = s.Flow == want
	q.answerFrom, q.answerTo = other(s.Flow.Src, want.Src), other(s.Flow.Dst, want.Dst)
}

// expects is the flow by which an answer reaches the client: that of the query the other way round. Of a query that its own
// host had translated before it was seen, the answer may be translated back in part where a bridge asks the rules before
// the bridge's device has the packet; the rest is done behind it.
func (q *query) expects(got packet.FlowTuple) packet.FlowTuple {
	asked := q.first.Packet.Flow()
	want := asked.Reverse()
	ct := q.hops[0].Conntrack
	if ct == nil || ct.Original == asked {
		return want
	}
	if got.Src == ct.Original.Dst {
		want.Src = got.Src
	}
	if got.Dst == ct.Original.Src {
		want.Dst = got.Dst
	}
	return want
}

// other is a if it is not b.
func other(a, b netip.AddrPort) netip.AddrPort {
	if a == b {
		return netip.AddrPort{}
	}
	return a
}

// misses reports whether the answer came to the client in a way that its socket does not take.
func (q *query) misses() bool { return q.answerFrom.IsValid() || q.answerTo.IsValid() }

// server is whom the client asked: behind its own translation, what it asked for.
func (q *query) server() netip.AddrPort {
	if ct := q.hops[0].Conntrack; ct.DNAT() {
		return ct.Original.Dst
	}
	return q.first.Packet.Destination()
}

// outcome judges what is known.
func (q *query) outcome() event.DNSOutcome {
	switch {
	case q.answer != nil && (q.delivered || q.loss == nil && !q.expected && !q.misses() && !q.cut()):
		if q.answer.truncated {
			return event.DNSTruncated
		}
		return event.DNSAnswered
	case q.icmp != nil, q.ending != nil && q.ending.How == event.ConnectionRefused:
		return event.DNSRejected
	case q.loss != nil:
		return event.DNSDropped
	}
	return event.DNSNoResponse
}

// restsOnAbsence reports whether the outcome is what it is because nothing else was seen: no answer, no delivery, or no copy of what was dropped.
func (q *query) restsOnAbsence() bool {
	rejected := q.answer == nil && (q.icmp != nil || q.ending != nil && q.ending.How == event.ConnectionRefused)
	return !q.delivered && !rejected
}

// captured reports whether the event is a packet of a capture.
func captured(e event.Event) bool {
	h, ok := e.Body.(event.Hop)
	return ok && h.Captured
}

// event returns the finished transaction. Hops are kept if it failed, or took longer than slow.
func (q *query) event(slow time.Duration) event.DNS {
	d := event.DNS{
		ID: q.msg.id, Name: q.msg.name, Type: q.msg.qtype,
		Server: q.server(), Backend: q.backend, Transport: q.first.Packet.Proto, Attempts: q.attempts, Outcome: q.outcome(),
		Answers: []string{}, ClientNetns: q.first.Netns, Last: q.last, AnswerLast: q.answerLast, Drop: q.loss, ICMP: q.icmp,
		Captured: q.captured, Connection: q.ending, Unsent: q.unsent, Retry: q.retry,
		EDNSSize: q.msg.edns,
	}
	if q.answerFrom.IsValid() {
		d.AnswerFrom = q.answerFrom.String()
	}
	if q.answer != nil {
		q.tellAnswer(&d)
	}
	if q.parts != nil {
		d.Fragments = q.parts.report()
	}
	if d.Outcome != event.DNSAnswered || d.Latency > slow {
		d.Hops = q.hops
	}
	return d
}

func (q *query) tellAnswer(d *event.DNS) {
	d.Rcode = q.answer.rcode
	d.NoData, d.Errors, d.Size = q.answer.noData, q.answer.errors, q.answerSize
	d.Answers = append(d.Answers, q.answer.answers...)
	d.LeftOut = max(q.answer.total-len(d.Answers), 0)
	d.Latency = q.answerLast.Time.Sub(q.first.Time)
	d.Beyond = q.answerAt.Sub(q.last.Time)
	if q.answerTo.IsValid() {
		d.AnswerTo = q.answerTo.String()
	}
	i := slices.IndexFunc(q.hops, func(s event.Sight) bool { return s.Answer })
	if i >= 0 && q.hops[i].Direction == event.Out {
		d.ServerNetns = q.hops[i].Netns // it was sent there, not only passed on
	}
}
