// SPDX-License-Identifier: Apache-2.0

// Package dns joins packets to DNS transactions: one event a query, with its answer or with what became of it.
//
//	hops, drops ──► by journey, by flow and id ──► query ──► answered, rejected, dropped, timed out ──► event
package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Options of the stage.
type Options struct {
	Wait time.Duration // how long an answer may take
	Slow time.Duration // answers that took longer have their whole path
	// Ports are those that servers are asked at. At others a query is known by its answer.
	Ports []uint16
}

// How long to look on before judging, by the events' clock.
const (
	deliveryGrace = time.Second            // for an answer that is on the node, to reach its client; its CPU may be lent out
	arrivalGrace  = 200 * time.Millisecond // for an answer at its client's device, to be dropped behind it
	lossGrace     = 300 * time.Millisecond // for a dropped packet, to turn out to be a copy; for the ICMP error behind it, or before it
	retryGrace    = time.Second            // for a client to ask again, where nothing else says that it had no answer
	sameMoment    = time.Second            // equal questions closer than this are no retries: several threads ask
)

// Stage is a stage.Stage that makes DNS events of hops, and of drops as the stage of stage.NewDrops completes them.
type Stage struct {
	o         Options
	byJourney map[uint64]step
	byKey     map[key]*query
	byFlow    map[packet.FlowTuple]*query // the latest; for ICMP errors that quote no payload
	lastAsked map[question]*query
	servers   bounded.Map[netip.AddrPort, bool] // that have answered
	clients   bounded.Map[netip.Addr, bool]     // of captured queries
	heard     bounded.Map[between, bool]        // captured packets to these
	judged    bounded.Map[key, bool]            // queries
	reached   bounded.Map[uint32, bool]         // namespaces that answers were seen to come back to
	fragments fragments
	open      []*query                  // in order of time
	done      []*query                  // unanswered ones, which a retry or a late packet may refer to
	held      bounded.Pool[*query]      // that wait for an answer
	past      bounded.Pool[*query]      // of done
	refused   bounded.Map[uint64, bool] // journeys of queries that there was no room for
	tcp       connections
	gaps      event.Gaps
	now       time.Time // of the latest event or tick
	total     totals
	only      event.Single
}

// step is what a journey is to a query.
type step struct {
	q    *query
	role role
}

type role int

const (
	asQuery role = iota
	asAnswer
	asICMP
)

// New returns the stage.
func New(o Options) *Stage {
	s := &Stage{
		o:         o,
		byJourney: map[uint64]step{},
		byKey:     map[key]*query{},
		byFlow:    map[packet.FlowTuple]*query{},
		lastAsked: map[question]*query{},
		total:     newTotals(),
	}
	s.held.Most, s.held.Newest, s.past.Most = maxOpen, true, maxDone
	s.tcp = newConnections(s)
	return s
}

// Observe implements stage.Stage.
func (s *Stage) Observe(e event.Event) []event.Event {
	out := s.only.Event(e)
	s.now = later(s.now, e.Time)
	s.gaps.Learn(e)
	if f, ok := e.Body.(event.Fact); ok {
		if inode, replaced := f.ReplacedNetns(); replaced {
			s.reached.Delete(inode)
		}
		return out
	}
	if e.Packet == nil {
		return out
	}
	switch body := e.Body.(type) {
	case event.Hop:
		return append(out, s.hop(e, body.Conntrack)...)
	case event.SocketSegment:
		return append(out, s.tcp.packet(e, nil, nil)...)
	case event.Drop:
		return append(out, s.drop(e, body)...)
	}
	return out
}

// hop takes in a packet at a device.
func (s *Stage) hop(e event.Event, ct *event.Conntrack) []event.Event {
	e, ct, in := event.Carried(e, ct)
	if captured(e) {
		s.listen(e.Packet)
	}
	if e.Packet.Proto == "tcp" {
		return s.tcp.packet(e, ct, in)
	}
	part := s.fragment(e)
	at, finished := s.place(e, ct)
	if at.q == nil && part != nil {
		s.laterFragment(e, part)
		return finished
	}
	if at.q == nil || at.q.closed {
		return finished
	}
	here := event.SightOf(e, ct, in)
	defer s.grown(at.q)
	switch at.role {
	case asQuery:
		s.sawQuery(at.q, here)
		if s.asksServer(e, ct) {
			at.q.standing = asked
		}
		return finished
	case asAnswer:
		s.cameBack(at.q, e, here, part)
		if !at.q.delivered || !at.q.captured && !at.q.answer.truncated { // then the client asks again at once
			return finished
		}
	case asICMP:
		at.q.icmp.Sight = here
		if !at.q.atClient(e) {
			at.q.due = e.Time.Add(deliveryGrace)
			return finished
		}
		if at.q.loss == nil { // who sent it on this node may be about to drop the packet that it quotes
			at.q.due = e.Time.Add(lossGrace)
			return finished
		}
	}
	return append(finished, s.finish(at.q)...)
}

// grown has a query count for what it takes now.
func (s *Stage) grown(q *query) {
	if !q.closed {
		s.held.Resize(q.held, q.size())
	}
}

// cameBack takes in where the answer is, or what came of it there.
func (s *Stage) cameBack(q *query, e event.Event, here event.Sight, part *parts) {
	returned := q.returned(e)
	q.answered(here, returned)
	switch {
	case part != nil:
		s.firstFragment(q, e.Packet, part, returned)
	case q.parts != nil && !q.parts.atClient:
		q.parts = nil // put together on the way
	}
	s.await(q, e.Time)
}

// await says how long to look on once an answer is seen.
func (s *Stage) await(q *query, now time.Time) {
	switch {
	case q.delivered:
		q.due = now.Add(arrivalGrace)
		if q.sentHere() {
			s.reached.Put(q.first.Netns, true)
		}
		return
	case q.captured && q.parts != nil && !s.fragments.later: // the client may ask again
		q.due = q.first.Time.Add(s.o.Wait + retryGrace)
	default:
		q.due = now.Add(deliveryGrace)
	}
	_, reaches := s.reached.Get(q.first.Netns)
	q.expected = reaches && q.sentHere()
}

// sawQuery takes in where a query is, and by which flows its answer will be known.
func (s *Stage) sawQuery(q *query, here event.Sight) {
	q.seen(here)
	if len(q.keys) == 0 {
		s.know(q, packet.FlowTuple{Src: netip.AddrPortFrom(here.Flow.Src.Addr(), 0)})
	}
	s.alias(q, here.Flow)
	if ct := here.Conntrack; ct != nil {
		s.alias(q, ct.Original)
		s.alias(q, ct.Reply.Reverse())
	}
}

// place finds what the packet is to which query, if need be by its bytes. It returns also the event of an earlier
// attempt that the packet turns out to follow.
func (s *Stage) place(e event.Event, ct *event.Conntrack) (step, []event.Event) {
	if at, ok := s.byJourney[e.Journey]; ok {
		return at, nil
	}
	if e.Packet.Proto == "icmp" || e.Packet.Proto == "icmpv6" {
		return s.quoted(e), nil
	}
	if e.Packet.Proto != "udp" || e.Packet.Fragment != 0 {
		return step{}, nil
	}
	msg, ok := parse(e.Packet.Transport())
	if !ok {
		return step{}, nil
	}
	if msg.response {
		return s.reply(e, ct, msg), nil
	}
	is := s.recognize(e, ct, msg)
	if is == noQuery {
		return step{}, nil
	}
	return s.ask(e, s.sent(e, ct, msg), msg, is)
}

// quoted finds the query that an ICMP error is about.
func (s *Stage) quoted(e event.Event) step {
	inner := e.Packet.Quoted().Innermost()
	if _, tooBig := e.Packet.TooBig(); inner == nil || tooBig { // the sender sends smaller ones then
		return step{}
	}
	if inner.Proto == "tcp" {
		s.tcp.quoted(e, inner)
		return step{}
	}
	q := s.byFlow[inner.Flow()]
	if id := inner.Transport(); len(id) >= 2 {
		q = s.byKey[key{inner.Flow(), binary.BigEndian.Uint16(id)}]
	}
	if q == nil || q.closed {
		return step{}
	}
	q.icmp = &event.ICMP{From: e.Packet.Src, Type: e.Packet.ICMPType, Code: e.Packet.ICMPCode, Name: e.Packet.ICMPName()}
	return s.join(q, e.Journey, asICMP)
}

// drop takes in a packet that the kernel threw away. It may be the first that is seen of it.
func (s *Stage) drop(e event.Event, d event.Drop) []event.Event {
	if d.Noise != "" {
		return nil
	}
	inner, ct, in := event.Carried(e, d.Conntrack)
	if inner.Packet.Proto == "tcp" {
		s.tcp.drop(inner, ct, in, d, e)
		return nil
	}
	at, finished := s.place(inner, ct)
	if q := s.answerOf(inner.Packet); at.q == nil && q != nil {
		at = step{q, asAnswer}
		q.partLost = true
	}
	if at.q == nil || at.q.closed || at.role == asICMP {
		return finished
	}
	if at.role == asAnswer && at.q.delivered {
		if d.NoSocket() {
			return finished // the client does not wait any more, or had an answer of another server
		}
		at.q.delivered = false
	}
	here := event.SightOf(inner, ct, in)
	here.Answer = at.role == asAnswer
	switch {
	case at.role == asQuery && at.q.last == nil:
		s.sawQuery(at.q, here) // it went no farther than this
	case at.role == asAnswer && at.q.answerLast == nil:
		at.q.answered(here, false)
	}
	at.q.loss = &event.Loss{Sight: here, Reason: d.Reason, Function: d.Location, Event: e}
	at.q.due = e.Time.Add(lossGrace)
	return finished
}

// join makes a journey known as a query's.
func (s *Stage) join(q *query, journey uint64, r role) step {
	at := step{q, r}
	if journey != 0 {
		s.byJourney[journey] = at
		q.journeys = append(q.journeys, journey)
	}
	return at
}

// alias makes a query known by another flow.
func (s *Stage) alias(q *query, flow packet.FlowTuple) {
	s.know(q, flow)
	s.know(q, packet.FlowTuple{Src: flow.Src})
}

func (s *Stage) know(q *query, flow packet.FlowTuple) {
	k := key{flow, q.msg.id}
	if len(q.keys) >= maxKeys || slices.Contains(q.keys, k) {
		return
	}
	q.keys = append(q.keys, k)
	s.byKey[k] = q
	s.byFlow[flow] = q
}

// Flush implements stage.Stage. What is still within its time at the end is not judged, but counted.
func (s *Stage) Flush(now time.Time, final bool) []event.Event {
	s.now = later(s.now, now)
	var finished []event.Event
	open := s.open[:0]
	for _, q := range s.open {
		switch {
		case q.closed:
		case !now.Before(q.due), final && q.outcome() != event.DNSNoResponse:
			finished = append(finished, s.finish(q)...)
		default:
			open = append(open, q)
		}
	}
	clear(s.open[len(open):])
	s.open = open
	if final {
		s.total.pending += pending(open)
	}
	finished = append(finished, s.tcp.flush(now, final)...)
	s.forget(now)
	return finished
}

// pending counts the queries that are not judged.
func pending(open []*query) (n uint64) {
	for _, q := range open {
		if q.standing == asked {
			n++
		}
	}
	return n
}

// finish judges a query. Of what only looked like one there is nothing to say.
func (s *Stage) finish(q *query) []event.Event {
	for _, k := range q.keys {
		if k.flow.Dst.IsValid() {
			s.judged.Put(k, true)
		}
	}
	if q.answer == nil {
		q.parts = s.orphan(q)
	}
	var judged []event.Event
	if q.standing == asked {
		judged = append(judged, s.judge(q))
	}
	q.close()
	if q.delivered || len(q.keys) == 0 { // over TCP nothing refers to it
		s.remove(q)
	} else {
		s.keepDone(q)
	}
	return judged
}

// judge makes the event of a query.
func (s *Stage) judge(q *query) event.Event {
	e, d := q.first, q.event(s.o.Slow)
	if gap, lossy := s.gaps.Within(e.Time, s.now); lossy && q.restsOnAbsence() {
		d.Outcome, d.Lost = event.DNSUnknown, &gap
	}
	d.OneSided = d.Outcome == event.DNSNoResponse && s.oneSided(q)
	s.total.add(d, s.o.Slow)
	e.Pod, e.Peer = e.Ends() // the client's and the server's
	e.ToPod, e.Body = false, d
	return e
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Summarize implements event.Summarizer.
func (s *Stage) Summarize(sum *event.Summary) {
	sum.DNS = s.total.summary()
	sum.AddEvicted("DNS queries", s.held.Evicted())
}
