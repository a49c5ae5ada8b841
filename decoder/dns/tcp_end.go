// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// accepts takes in the answer to a SYN, at one of the places that it passes. Where directions are not known, one is
// enough.
func (c *connection) accepts(e event.Event, here event.Sight, seg packet.Segment, whole bool) {
	if whole {
		c.accepted(seg.Seq)
	}
	if c.opening == nil {
		return
	}
	c.opening.answered(here, c.opening.atClient(e))
	if c.opening.delivered || e.Direction == "" {
		c.opening = nil
	}
}

// reset takes in a reset. One of the client's ends what it had asked for; it may be its answer to what came too late.
func (c *connection) reset(here event.Sight, up bool) {
	if up {
		c.leave(here.Time)
		return
	}
	how := event.ConnectionReset
	c.over = true
	if !c.closed.IsZero() {
		c.abandoned(here.Time)
		return
	}
	if c.opening != nil {
		how = event.ConnectionRefused
	}
	c.ended(event.DNSConnection{Sight: here, How: how, By: event.ByServer}, here.Time.Add(lossGrace))
}

// abandoned takes in that the server ends what the client has closed: nothing more comes.
func (c *connection) abandoned(now time.Time) {
	for _, q := range c.waiting() {
		q.due = now.Add(lossGrace)
	}
}

// leave takes in that the client closes the connection.
func (c *connection) leave(now time.Time) {
	if c.closed.IsZero() {
		c.closed = now
	}
}

// closes takes in the end of a direction. The client's may be all that it has to ask; the server's is an answer to
// nothing that is still asked, but data may come late.
func (x *connections) closes(c *connection, e event.Event, here event.Sight, up bool) (finished []event.Event) {
	switch due := e.Time.Add(lossGrace); {
	case up:
		c.leave(e.Time)
	case !c.closed.IsZero():
		c.over = true
		c.abandoned(e.Time)
	default:
		if c.over = true; c.down.segments.Waits() {
			due = due.Add(gapGrace)
		}
		c.ended(event.DNSConnection{Sight: here, How: event.ConnectionClosed, By: event.ByServer}, due)
	}
	for _, a := range slices.Clone(c.pending) {
		if a.transfer && a.answer != nil {
			finished = append(finished, x.finish(c, a)...)
		}
	}
	return finished
}

// quoted takes in an ICMP error about a packet of a connection. Those that wait for an answer may get that error; one that is
// established goes on sending.
func (x *connections) quoted(e event.Event, about *packet.Packet) {
	c := x.byName[keyOf(e, about.Flow())]
	if _, tooBig := e.Packet.TooBig(); c == nil || tooBig {
		return
	}
	here := event.SightOf(e, nil, nil)
	for _, q := range c.waiting() {
		q.icmp = &event.ICMP{
			Sight: here, From: e.Packet.Src, Type: e.Packet.ICMPType, Code: e.Packet.ICMPCode, Name: e.Packet.ICMPName(),
		}
		if q != c.opening {
			continue
		}
		q.due = e.Time.Add(deliveryGrace)
		if q.atClient(e) {
			q.due = e.Time.Add(lossGrace)
		}
	}
}

// drop takes in a packet that the kernel threw away. TCP sends it again, so it is a loss only if that does not help.
func (x *connections) drop(e event.Event, ct *event.Conntrack, in *event.Carrier, d event.Drop, whole event.Event) {
	p := e.Packet
	seg, ok := p.Segment()
	if !ok || !p.HasFlag('S') && p.Payload() == 0 {
		return
	}
	c := x.find(e, ct, seg)
	if c == nil {
		return
	}
	c.last = e.Time
	here, up := event.SightOf(e, ct, in), c.upward(keyOf(e, p.Flow()))
	here.Answer = !up
	loss := &event.Loss{Sight: here, Reason: d.Reason, Function: d.Location, Event: whole}
	if !p.HasFlag('S') {
		for _, a := range c.pending {
			a.loss = loss
		}
		return
	}
	if up && !c.begun {
		c.began(e, seg.Seq)
		x.open(c, e)
	}
	q := c.opening
	if q == nil {
		return
	}
	switch {
	case up && q.last == nil:
		q.seen(here) // it went no farther than this
	case !up && q.answerLast == nil:
		q.answered(here, false)
	}
	q.loss = loss
}

// flush returns what time alone completes, and forgets what is over.
func (x *connections) flush(now time.Time, final bool) (finished []event.Event) {
	list := x.list[:0]
	for _, c := range x.list {
		finished = append(finished, x.judge(c, now, final)...)
		if x.rests(c, now) {
			x.forget(c)
		} else {
			list = append(list, c)
		}
	}
	clear(x.list[len(list):])
	x.list = list
	if final {
		for _, c := range x.list {
			x.s.total.pending += uint64(len(c.waiting()))
		}
	}
	return finished
}

// judge finishes what of a connection is due, at the end also what is known to have failed.
func (x *connections) judge(c *connection, now time.Time, final bool) (finished []event.Event) {
	if !c.waits.IsZero() && now.Sub(c.waits) > gapGrace {
		finished = x.giveUp(c, now)
	}
	ripe := func(q *query) bool { return !now.Before(q.due) || final && q.outcome() != event.DNSNoResponse }
	if q := c.opening; q != nil && q.last != nil && ripe(q) {
		c.opening, c.over = nil, true
		if !passedBy(q) {
			finished = append(finished, x.s.finish(q)...)
		}
	}
	for _, a := range slices.Clone(c.pending) {
		if ripe(a.query) {
			finished = append(finished, x.finish(c, a)...)
		}
	}
	return finished
}

// passedBy reports whether the answer to a SYN may have taken another way than by this node, which the client is not on:
// a client that has no answer sends its SYN again.
func passedBy(q *query) bool {
	return q.first.Direction == event.In && !q.repeated && q.outcome() == event.DNSNoResponse
}

// giveUp goes on without the bytes that are missing.
func (x *connections) giveUp(c *connection, now time.Time) []event.Event {
	before := c.load()
	e := event.Event{Header: event.Header{Time: now, Node: c.opener.Node}, Packet: &packet.Packet{}}
	done, lost := c.down.skip(e)
	x.messages(c, false, done, lost)
	c.up.skip(e) // a query of which neither place nor process is known is none
	x.spanned += c.load() - before
	if c.waits = (time.Time{}); c.up.segments.Waits() || c.down.segments.Waits() {
		c.waits = now
	}
	for _, a := range c.pending {
		if a.answer != nil && a.answerLast == nil {
			a.arrives(event.Sight{Time: now, Netns: a.first.Netns, Flow: a.first.Packet.Flow().Reverse()}, true)
		}
	}
	return x.delivered(c, now)
}

// rests reports whether nothing more is to be known of a connection.
func (x *connections) rests(c *connection, now time.Time) bool {
	if len(c.waiting()) > 0 || len(c.pending) > 0 {
		return false
	}
	idle := now.Sub(c.last)
	return idle > idleRest || idle > abandonRest && (c.over || !c.closed.IsZero())
}

// unname lets a connection be found by nothing any more.
func (x *connections) unname(c *connection) {
	for _, k := range c.names {
		if x.byName[k] == c {
			delete(x.byName, k)
		}
	}
	c.over = true
}

// forget lets go of all that a connection keeps.
func (x *connections) forget(c *connection) {
	x.unname(c)
	x.spanned -= c.load()
	*c = connection{}
}

const (
	maxConnections = 4096
	maxSpanned     = 16 << 20 // bytes that all connections keep
)

// bound keeps what is remembered within its limits. Those whose clients have most go first, and of a client's own the
// oldest, so that one which opens many costs the others nothing. latest is spared.
func (x *connections) bound(latest *connection) {
	if len(x.list) <= maxConnections && x.spanned <= maxSpanned {
		return
	}
	type ranked struct {
		c           *connection
		count, span int // of the client's connections from this one to the latest
	}
	var all []ranked
	count, span := map[netip.Addr]int{}, map[netip.Addr]int{}
	for _, c := range slices.Backward(x.list) {
		if c.names == nil {
			continue
		}
		client := c.client()
		count[client]++
		span[client] += c.load()
		all = append(all, ranked{c, count[client], span[client]})
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		if x.spanned > maxSpanned {
			return cmp.Or(cmp.Compare(b.span, a.span), cmp.Compare(b.count, a.count))
		}
		return cmp.Compare(b.count, a.count)
	})
	for _, r := range all {
		if len(x.list) <= maxConnections*7/8 && x.spanned <= maxSpanned*7/8 {
			break
		}
		if r.c == latest {
			continue
		}
		x.s.total.unseen += uint64(len(r.c.waiting()))
		x.forget(r.c)
		x.list = slices.DeleteFunc(x.list, func(c *connection) bool { return c == r.c })
	}
}
