// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Flows is the rule for established connections in trouble, as their own TCP counts it: tcp-loss, receiver-stalled and
// idle-timeout. It wants event.Flow, and packets that begin connections, which show who is alive.
type Flows struct {
	state   *State
	hanging *bounded.Table[flowKey, *hanging]
	losing  *bounded.Table[pathKey, *losing]
	heard   bounded.Map[netip.Addr, time.Time] // when who accepted a connection last
	deaf    bounded.Map[netip.Addr, time.Time] // when who last left an attempt to connect unanswered
	dropped bounded.Map[pathKey, uint64]       // packets on this node, by its kernel
}

// flowKey is a connection at one of its ends.
type flowKey struct {
	netns uint32
	flow  packet.FlowTuple
}

// pathKey is the way from an address to another, as a namespace has them.
type pathKey struct {
	netns    uint32
	from, to netip.Addr
}

// pathOf is the way of what a socket sends.
func pathOf(e event.Event) pathKey { return pathKey{e.Netns, e.Packet.Src, e.Packet.Dst} }

const (
	maxHanging = 2048
	maxLosing  = 2048
	// flowSettles is how long what is reported first is waited for to get worse, or better.
	flowSettles = 4 * time.Second
	// flowForget is how long what was not judged is kept.
	flowForget = 10 * time.Minute
)

// NewFlows returns the rule; state must observe events before it.
func NewFlows(state *State) *Flows {
	return &Flows{state: state, hanging: bounded.NewTable[flowKey, *hanging](maxHanging), losing: bounded.NewTable[pathKey, *losing](maxLosing)}
}

// Observe implements stage.Rule.
func (r *Flows) Observe(e event.Event) []event.Finding {
	p := e.Packet
	switch b := e.Body.(type) {
	case event.Fact:
		if inode, ok := b.ReplacedNetns(); ok {
			r.forget(inode)
		}
	case event.Hop:
		if p != nil && p.HasFlag('S') && p.HasFlag('.') {
			r.heard.Put(p.Src, e.Time)
		}
	case event.Drop:
		if p != nil && p.Proto == "tcp" && b.Noise == "" {
			key := pathKey{0, p.Src, p.Dst}
			n, _ := r.dropped.Get(key)
			r.dropped.Put(key, n+1)
		}
	case event.Flow:
		if b.TCP == nil {
			r.deaf.Put(b.Asked().Addr(), e.Time)
			return nil
		}
		return r.flow(e, b)
	}
	return nil
}

func (r *Flows) forget(netns uint32) {
	r.hanging.DeleteFunc(func(k flowKey) bool { return k.netns == netns })
	r.losing.DeleteFunc(func(k pathKey) bool { return k.netns == netns })
}

// flow takes in what TCP says of a connection.
func (r *Flows) flow(e event.Event, f event.Flow) []event.Finding {
	t, peer := f.TCP, e.Packet.Dst
	if t.Idle > 0 && !t.Hangs() {
		r.heard.Put(peer, e.Time.Add(-t.Idle))
	}
	if t.PeerStalls() || t.Stalls() {
		return []event.Finding{conclude(r.stalled(e, f), e)}
	}
	if t.Hangs() {
		r.hangs(e, f)
	}
	if t.Loss.Lost > 0 {
		r.loses(e, f)
	}
	return nil
}

// Flush implements stage.Rule.
func (r *Flows) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	for key, h := range r.hanging.All() {
		switch {
		case !h.judged && (final || !now.Before(h.due)):
			h.judged = true
			if l, ok := r.losing.Get(pathOf(h.event)); !ok || !l.much() { // else it is one of those that lose
				found = append(found, conclude(r.hung(h), h.event))
			}
		case now.Sub(h.event.Time) > flowForget:
			r.hanging.Delete(key)
		}
	}
	for key, l := range r.losing.All() {
		switch {
		case l.news && (final || !now.Before(l.due)):
			l.news = false
			if f, ok := r.lossy(key, l); ok {
				found = append(found, f)
			}
		case now.Sub(l.event.Time) > flowForget:
			r.losing.Delete(key)
		}
	}
	return found
}

// Summarize implements event.Summarizer.
func (r *Flows) Summarize(s *event.Summary) {
	s.AddEvicted("connections in trouble", r.hanging.Evicted()+r.losing.Evicted())
}

// ofFlow is a connection as evidence: since when it is established, by whom, and what it carried.
func ofFlow(e event.Event, f event.Flow) string {
	t := f.TCP
	since := "before ktrace began"
	if t.Established > 0 {
		since = fmt.Sprintf("%v ago", t.Established.Round(time.Millisecond))
	}
	text := fmt.Sprintf("%s connection%s %v, established %s: %d bytes sent, %d received", e.Time.UTC().Format("15:04:05.000000"), by(e), e.Packet.Flow(), since, t.Sent, t.Received)
	if f.Error != "" {
		text += ", then " + f.Error
	}
	return text
}

// socketOf shows a connection's counters at its own end.
func (r *Flows) socketOf(e event.Event, note string) event.Remedy {
	const filter = "dst %v and dport = :%d and sport = :%d"
	return run("ss -tnoip %v", fmt.Sprintf(filter, e.Packet.Dst, e.Packet.Dport, e.Packet.Sport)).In(r.state.enter(e.Netns)).Noting("%s", note)
}
