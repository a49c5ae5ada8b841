package node

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// backends is what rules translate to, so that a packet that went elsewhere, or that two systems of rules may have
// translated, has them read anew.
type backends struct {
	served map[served]bool
	twice  map[portal]bool // has rules of several systems that differ, and was not asked about since that was seen
	next   time.Time       // not before are rules read without an event
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

// How often rules are read without an event: seldom, and where reading takes long, so that it takes one part in so many of
// the time.
const (
	rulesEvery = 5 * time.Second
	rulesShare = 100
)

// learn takes in all that the rules of all namespaces say.
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

// misdirected holds for a packet of a flow that is translated to a backend which the rules, as they were read last, do not
// name, or in which rules of several systems do not agree.
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
	return w.isService(at.to.Addr()) && !w.backends.served[served{at, c.Reply.Src}]
}

// translation asks what the rules do for a translated packet as it was before.
func (w *Enricher) translation(e event.Event) []event.Fact {
	p := *e.Packet
	was := e.Body.(event.Hop).Conntrack.Original
	p.Src, p.Sport, p.Dst, p.Dport = was.Src.Addr(), was.Src.Port(), was.Dst.Addr(), was.Dst.Port()
	e.Packet = &p
	return append(w.reader.ServiceRules(e), w.newServices(e.Netns)...)
}

// changes reports what changed of the rules for services while nothing asked for them.
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
