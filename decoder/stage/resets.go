// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"maps"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// How long a reset is held for what belongs to it.
const (
	resetHold   = 300 * time.Millisecond
	answerHold  = time.Second            // one that answered a SYN from elsewhere: the true answer may be still to come
	ruleHold    = 700 * time.Millisecond // for the rule that rejected to be found
	echoHold    = 5 * time.Second        // after which a reset of the same connection is another's
	memoryHold  = 2 * time.Minute        // how long TTLs and translations of connections are kept without being used
	rejectHold  = 100 * time.Millisecond
	memoryLimit = 1 << 16
)

// Resets is the stage that makes one Reset of all that sockets and devices report of it. It wants packets with SYN or
// RST and ICMP errors at devices, drops as NewDrops completes them, and the reports of sockets; it passes all of them on.
type Resets struct {
	open    map[packet.Connection]*reset
	echoes  map[packet.Connection]time.Time
	names   aliases
	ttls    map[sighting]ttlSeen
	clients map[packet.Connection]initiator
	rejects map[packet.Connection][]event.Event // drops by netfilter, the latest of each flow
	refused refusals
	putOff  event.DeferredLookups // about the rule that rejected
	pruned  time.Time
	silent  bool // the kernel says nothing of a reset that no full socket sends (before 6.10)
	only    event.Single
}

// reset is what is known so far of one connection's end.
type reset struct {
	connection packet.Connection
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
	return &Resets{
		open:   map[packet.Connection]*reset{},
		echoes: map[packet.Connection]time.Time{},
		names:  aliases{},
		ttls:   map[sighting]ttlSeen{},

		clients: map[packet.Connection]initiator{},
		rejects: map[packet.Connection][]event.Event{},
		refused: newRefusals(),
		putOff:  event.DeferredLookups{},
	}
}

// Observe implements Stage.
func (r *Resets) Observe(e event.Event) []event.Event {
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
	return r.only.Event(e)
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
	} else if g := r.group(p.Flow(), e.Time, false); g != nil {
		g.hops = append(g.hops, e)
		r.measure(g, e)
	}
}

// rename learns what a connection is called on the other side of a translation.
func (r *Resets) rename(c *event.Conntrack, now time.Time) {
	from, to := packet.ConnectionOf(c.Reply), packet.ConnectionOf(c.Original)
	if from == to {
		return
	}
	a := alias{to, c.Original, c.Reply, now}
	r.names[from], r.names[to] = a, a
	if known := r.rejects[from]; known != nil {
		delete(r.rejects, from)
		r.rejects[to] = append(r.rejects[to], known...)
	}
	if g, ok := r.open[from]; ok {
		delete(r.open, from)
		if other, ok := r.open[to]; ok {
			g.join(other)
		}
		g.connection = to
		r.open[to] = g
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
	r.rejects[c] = append(slices.DeleteFunc(r.rejects[c], same), e)
	if g := r.open[c]; g != nil {
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
		if g := r.group(e.Packet.Flow(), e.Time, packet.IsSYN(s.Trigger)); g != nil {
			g.sent = append(g.sent, e)
		}
	case event.SockResetReceived:
		if g := r.group(e.Packet.Flow(), e.Time, s.State == "SYN_SENT"); g != nil {
			g.received = append(g.received, e)
			if s.State == "SYN_SENT" && len(g.sent) == 0 {
				g.due = e.Time.Add(answerHold)
			}
		}
	case event.SockError:
		if g := r.open[r.names.of(e.Packet.Flow())]; g != nil && s.Error == "ECONNABORTED" {
			g.destroyed = true
		}
	}
}

// group finds or begins the reset that a packet or report belongs to. It returns nil for what only repeats a reset
// that is finished; fresh says that it cannot.
func (r *Resets) group(f packet.FlowTuple, now time.Time, fresh bool) *reset {
	c := r.names.of(f)
	if g, ok := r.open[c]; ok {
		return g
	}
	if over, ok := r.echoes[c]; ok && !fresh && now.Sub(over) < echoHold {
		return nil
	}
	g := &reset{connection: c, due: now.Add(resetHold)}
	r.open[c] = g
	for _, old := range r.rejects[c] {
		if now.Sub(old.Time) <= rejectHold && f.Opposes(old.Packet.Flow()) {
			g.drop, g.due = &old, now.Add(ruleHold)
		}
	}
	return g
}

// Flush implements Stage.
func (r *Resets) Flush(now time.Time, final bool) []event.Event {
	var done []*reset
	for c, g := range r.open {
		if final || !now.Before(g.due) && !r.awaits(g.drop, now) {
			done = append(done, g)
			delete(r.open, c)
			r.echoes[c] = now
		}
	}
	slices.SortFunc(done, func(a, b *reset) int { return a.first().Time.Compare(b.first().Time) })
	events := make([]event.Event, 0, len(done))
	for _, g := range done {
		events = append(events, r.conclude(g))
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

// prune forgets what was not used for long, and everything if there is too much of it.
func (r *Resets) prune(now time.Time) {
	r.pruned = now
	r.refused.prune(now)
	full := len(r.ttls) > memoryLimit || len(r.names) > memoryLimit || len(r.clients) > memoryLimit
	old := func(when time.Time) bool { return full || now.Sub(when) > memoryHold }
	maps.DeleteFunc(r.ttls, func(_ sighting, v ttlSeen) bool { return old(v.when) })
	maps.DeleteFunc(r.names, func(_ packet.Connection, v alias) bool { return old(v.when) })
	maps.DeleteFunc(r.clients, func(_ packet.Connection, v initiator) bool { return old(v.when) })
	for k, all := range r.rejects {
		if now.Sub(all[len(all)-1].Time) > rejectHold {
			delete(r.rejects, k)
		}
	}
	for k, v := range r.echoes {
		if now.Sub(v) > echoHold {
			delete(r.echoes, k)
		}
	}
}
