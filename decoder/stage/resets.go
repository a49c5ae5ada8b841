// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// How long a reset is held for what belongs to it.
const (
	resetHold  = 300 * time.Millisecond
	answerHold = time.Second            // one that answered a SYN from elsewhere: the true answer may be still to come
	ruleHold   = 700 * time.Millisecond // for the rule that rejected to be found
	echoHold   = 5 * time.Second        // after which a reset of the same connection is another's
	memoryHold = 2 * time.Minute        // how long TTLs and translations of connections are kept without being used
	rejectHold = 100 * time.Millisecond
)

// Bounds of what is held: in a flood, those that whom it is from or hits has most of are concluded without what else may come.
const (
	maxHeld    = 1 << 12 // reports of packets, of all resets and refusals alike
	maxReports = 64      // of each kind of one reset: what comes again says nothing new
)

// Resets is the stage that makes one Reset of all that sockets and devices report of it. It wants packets with SYN or
// RST and ICMP errors at devices, drops as NewDrops completes them, and the reports of sockets; it passes all of them on.
type Resets struct {
	open    *bounded.Table[packet.Connection, *reset]
	early   []*reset // of open, evicted
	echoes  bounded.Map[packet.Connection, time.Time]
	names   aliases
	ttls    bounded.Map[sighting, ttlSeen]
	clients bounded.Map[packet.Connection, initiator]
	rejects *bounded.Table[packet.Connection, []event.Event] // drops by netfilter, the latest of each flow
	refused refusals
	gaps    event.Gaps
	putOff  event.DeferredLookups // about the rule that rejected
	pruned  time.Time
	silent  bool // the kernel says nothing of a reset that no full socket sends (before 6.10)
	only    event.Single
}

// reset is what is known so far of one connection's end.
type reset struct {
	connection packet.Connection
	owner      bounded.Owner
	sent       []event.Event
	received   []event.Event
	hops       []event.Event
	destroyed  bool
	ttl        *event.TTLs
	ttlPlace   string
	ttlOfSYN   bool // that of the other packet, that a scan begins with, made by hand
	begunAnew  bool // the client tried again after the reset
	answered   bool
	drop       *event.Event
	due        time.Time
}

// NewResets returns the stage.
func NewResets() *Resets {
	r := &Resets{
		rejects: bounded.NewTable[packet.Connection, []event.Event](maxHeld),
		putOff:  event.DeferredLookups{},
	}
	r.refused.init()
	r.open = bounded.NewTableEvict(maxHeld, func(_ packet.Connection, g *reset) { r.early = append(r.early, g) })
	return r
}

// Observe implements Stage.
func (r *Resets) Observe(e event.Event) []event.Event {
	r.gaps.Learn(e)
	switch b := e.Body.(type) {
	case event.Fact:
		if b.Node != nil {
			r.silent = len(b.Node.Resets) == 0
		}
		r.putOff.Learn(b)
	case event.Hop:
		r.hop(e, b)
	case event.Drop:
		r.drop(e, b)
	case event.Sock:
		r.sock(e, b)
	}
	return append(r.only.Event(e), r.evicted(e.Time)...)
}

// evicted concludes what there was no room for any more.
func (r *Resets) evicted(now time.Time) []event.Event {
	if len(r.early) == 0 && len(r.refused.early) == 0 {
		return nil
	}
	var events []event.Event
	for _, g := range r.early {
		r.echoes.Put(g.connection, g.first().Time)
		events = append(events, r.conclude(g, now))
	}
	r.early = r.early[:0]
	return append(events, r.refused.evicted()...)
}

// Summarize implements event.Summarizer.
func (r *Resets) Summarize(s *event.Summary) {
	s.AddEvicted("resets concluded early", r.open.Evicted()+r.refused.open.Evicted())
}

func (r *Resets) hop(e event.Event, h event.Hop) {
	p := e.Packet
	if p != nil && p.IsICMPError() {
		r.refused.hop(e)
	}
	if p == nil || p.Proto != "tcp" {
		return
	}
	if h.Conntrack != nil {
		r.rename(h.Conntrack, e.Time)
	}
	if packet.IsSYN(p) {
		r.begins(e)
	}
	if !p.HasFlag('R') {
		r.compare(e)
	} else if g := r.group(e, false); g != nil {
		r.measure(g, e)
		r.add(g, &g.hops, e)
	}
}

// rename learns what a connection is called on the other side of a translation.
func (r *Resets) rename(c *event.Conntrack, now time.Time) {
	from, to := packet.ConnectionOf(c.Reply), packet.ConnectionOf(c.Original)
	if from == to {
		return
	}
	a := alias{to, c.Original, c.Reply, now}
	r.names.Put(from, a)
	r.names.Put(to, a)
	if known, ok := r.rejects.Get(from); ok {
		other, _ := r.rejects.Get(to)
		r.rejects.Delete(from)
		known = append(other, known...)
		r.rejects.Put(event.OwnerAt(known[0]), to, known, len(known))
	}
	if g, ok := r.open.Get(from); ok {
		r.open.Delete(from)
		if other, ok := r.open.Get(to); ok {
			g.join(other)
		}
		g.connection = to
		r.open.Put(g.owner, to, g, g.size())
	}
}

// join takes in what was known of the same reset under another name.
func (g *reset) join(other *reset) {
	g.sent = append(g.sent, other.sent...)
	g.received = append(g.received, other.received...)
	g.hops = append(g.hops, other.hops...)
	g.destroyed = g.destroyed || other.destroyed
	g.answered = g.answered || other.answered
	g.begunAnew = g.begunAnew || other.begunAnew
	if g.ttl == nil {
		g.ttl, g.ttlPlace, g.ttlOfSYN = other.ttl, other.ttlPlace, other.ttlOfSYN
	}
	if g.drop == nil {
		g.drop = other.drop
	}
}

func (r *Resets) drop(e event.Event, d event.Drop) {
	if e.Packet == nil || !d.ByNetfilter() {
		return
	}
	r.refused.rejected(e, d)
	if e.Packet.Proto != "tcp" {
		return
	}
	if d.Conntrack != nil {
		r.rename(d.Conntrack, e.Time)
	}
	c := r.names.of(e.Packet.Flow())
	same := func(old event.Event) bool { return old.Packet.Flow() == e.Packet.Flow() }
	known, _ := r.rejects.Get(c)
	known = append(slices.DeleteFunc(known, same), e)
	r.rejects.Put(event.OwnerAt(e), c, known, len(known))
	if g, ok := r.open.Get(c); ok {
		g.reject(e)
	}
}

// reject takes in the drop of a packet that the reset may answer.
func (g *reset) reject(drop event.Event) {
	if g.drop == nil && len(g.sent) == 0 && g.first().Packet.Flow().Opposes(drop.Packet.Flow()) {
		g.drop, g.due = &drop, drop.Time.Add(ruleHold)
	}
}

// sock takes in what a socket reports.
func (r *Resets) sock(e event.Event, s event.Sock) {
	switch s.Op {
	case event.SockResetSent:
		if g := r.group(e, packet.IsSYN(s.Trigger)); g != nil {
			r.add(g, &g.sent, e)
		}
	case event.SockResetReceived:
		if g := r.group(e, s.State == "SYN_SENT"); g != nil {
			r.add(g, &g.received, e)
			if s.State == "SYN_SENT" && len(g.sent) == 0 {
				g.due = e.Time.Add(answerHold)
			}
		}
	case event.SockError:
		if g, ok := r.open.Get(r.names.of(e.Packet.Flow())); ok && s.Error == "ECONNABORTED" {
			g.destroyed = true
		}
	}
}

// group finds or begins the reset that a packet or report belongs to. It returns nil for what only repeats a reset
// that is finished; fresh says that it cannot. What is begun is held once it has its first report.
func (r *Resets) group(e event.Event, fresh bool) *reset {
	f, now := e.Packet.Flow(), e.Time
	c := r.names.of(f)
	if g, ok := r.open.Get(c); ok {
		return g
	}
	if over, ok := r.echoes.Get(c); ok && !fresh && now.Sub(over) < echoHold {
		return nil
	}
	g := &reset{connection: c, owner: event.OwnerAt(e), due: now.Add(resetHold)}
	known, _ := r.rejects.Get(c)
	for _, old := range known {
		if now.Sub(old.Time) <= rejectHold && f.Opposes(old.Packet.Flow()) {
			g.drop, g.due = &old, now.Add(ruleHold)
		}
	}
	return g
}

// add takes a report into one of the lists of a reset.
func (r *Resets) add(g *reset, list *[]event.Event, e event.Event) {
	if len(*list) < maxReports {
		*list = append(*list, e)
		r.open.Put(g.owner, g.connection, g, g.size())
	}
}

// size is how many reports are held.
func (g *reset) size() int { return len(g.sent) + len(g.received) + len(g.hops) }

// Flush implements Stage.
func (r *Resets) Flush(now time.Time, final bool) []event.Event {
	var done []*reset
	for c, g := range r.open.All() {
		if final || !now.Before(g.due) && !r.awaits(g.drop, now) {
			done = append(done, g)
			r.open.Delete(c)
			r.echoes.Put(c, now)
		}
	}
	slices.SortFunc(done, func(a, b *reset) int { return a.first().Time.Compare(b.first().Time) })
	events := make([]event.Event, 0, len(done))
	for _, g := range done {
		events = append(events, r.conclude(g, now))
	}
	events = append(events, r.refused.flush(now, final, r.awaits)...)
	if now.Sub(r.pruned) > time.Second {
		r.prune(now)
	}
	return events
}

// awaits is whether it is still to be said which rule dropped a packet, nil for none.
func (r *Resets) awaits(drop *event.Event, now time.Time) bool {
	return drop != nil && r.putOff.Pending(*drop, now.Sub(drop.Time))
}

// prune forgets what was not used for long.
func (r *Resets) prune(now time.Time) {
	r.pruned = now
	r.refused.prune(now)
	old := func(when time.Time) bool { return now.Sub(when) > memoryHold }
	r.ttls.Expire(func(v ttlSeen) bool { return old(v.when) })
	r.names.Expire(func(v alias) bool { return old(v.when) })
	r.clients.Expire(func(v initiator) bool { return old(v.when) })
	r.echoes.Expire(func(over time.Time) bool { return now.Sub(over) > echoHold })
	for k, all := range r.rejects.All() {
		if now.Sub(all[len(all)-1].Time) > rejectHold {
			r.rejects.Delete(k)
		}
	}
}
