// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// backends are what the rules translate to. A packet that was translated to another, or that rules of two systems
// match, has the rules read again.
type backends struct {
	served map[served]bool
	twice  map[portal]bool // has rules of several systems that differ, and was not asked about since that was seen
	next   time.Time       // before this, rules are read only for an event
}

// portal is a service's address and port in the rules of a namespace.
type portal struct {
	netns uint32
	proto string
	to    netip.AddrPort
}

type served struct {
	portal
	backend netip.AddrPort
}

// How often rules are read without an event: every rulesEvery, or less often if that takes more than 1/rulesShare of the time.
const (
	rulesEvery = 5 * time.Second
	rulesShare = 100
)

// learn takes the services of the rules of all namespaces.
func (b *backends) learn(known map[serviceKey]event.ServiceFact) {
	*b = backends{served: map[served]bool{}, twice: map[portal]bool{}, next: b.next}
	first := map[portal]event.ServicePort{}
	for key, f := range known {
		for _, p := range f.Ports {
			for _, a := range slices.Concat(f.Addrs, f.External) {
				at := portal{key.netns, p.Proto, netip.AddrPortFrom(a, p.Port)}
				other, seen := first[at]
				first[at] = p
				b.twice[at] = b.twice[at] || seen && !slices.Equal(other.Endpoints, p.Endpoints)
				for _, e := range p.Endpoints {
					b.served[served{at, e}] = true
				}
			}
		}
	}
}

// misdirected reports whether a packet was translated to a backend that the rules, as read last, do not name, or on which
// rules of several systems disagree.
func misdirected(w *Enricher, e event.Event) bool {
	c := e.Body.(event.Hop).Conntrack
	if !c.DNAT() || e.Packet == nil || !w.ruled[e.Netns] || e.Packet.Flow() != c.Reply.Reverse() {
		return false
	}
	at := portal{e.Netns, e.Packet.Proto, c.Original.Dst}
	if w.backends.twice[at] {
		w.backends.twice[at] = false
		return true
	}
	return w.isService(e.Netns, at.to.Addr()) && !w.backends.served[served{at, c.Reply.Src}]
}

// translation looks up what the rules do with a translated packet as it was before.
func (w *Enricher) translation(e event.Event) []event.Fact {
	p := *e.Packet
	was := e.Body.(event.Hop).Conntrack.Original
	p.Src, p.Sport, p.Dst, p.Dport = was.Src.Addr(), was.Src.Port(), was.Dst.Addr(), was.Dst.Port()
	e.Packet = &p
	return append(w.reader.ServiceRules(e), w.newServices(e.Netns)...)
}

// changes returns what changed in the rules for services without an event that needs them.
func (w *Enricher) changes() []event.Fact {
	if time.Now().Before(w.backends.next) {
		return nil
	}
	var facts []event.Fact
	begin := time.Now()
	for inode := range w.ruled {
		if s := w.reader.states[inode]; s != nil && s.refresh() == nil {
			facts = append(facts, w.newServices(inode)...)
		}
	}
	w.backends.next = begin.Add(max(rulesEvery, rulesShare*time.Since(begin)))
	return facts
}
