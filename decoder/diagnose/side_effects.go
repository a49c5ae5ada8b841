// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"math"
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// sideEffects are observations that explain what happens to other packets, or show that nothing is wrong with them.
type sideEffects struct {
	lostTooBig     bounded.Map[natFlow, bool]                // flows for whose sender a filter dropped "packet too big"
	filteredND     bounded.Map[netip.Addr, bool]             // targets of neighbour discovery, or their multicast groups, that a filter dropped
	untranslated   bounded.Map[untranslatedFlow, uint32]     // flows that left for a service address untranslated, and the namespace that they left first
	untranslatedTo bounded.Map[netnsDst, bool]               // their destinations; true once a host answers there that is no backend
	missingAddrs   bounded.Map[netnsAddr, bool]              // addresses that the hosts to which they are routed lack; true if they are one cause
	missingIn      bounded.Map[uint32, int]                  // how many a namespace lacks
	flows          bounded.Map[packet.FlowKey, *flowHistory] // a ping, which has no ports, is a flow of its own
	snatReplies    bounded.Map[natFlow, snatFlow]            // by the reply that is expected
	tunneled       bounded.Map[natFlow, outerPacket]         // by the inner flow
}

// missingApart is how many addresses that a namespace lacks are causes of their own: where a route leads wrong, all behind it are
// missing.
const missingApart = 16

// misses takes in an address that a namespace lacks, and reports whether it is one of so many that they are one cause.
func (s *sideEffects) misses(k netnsAddr) (many bool) {
	many, known := s.missingAddrs.Get(k)
	if known {
		return many
	}
	n, _ := s.missingIn.Get(k.netns)
	s.missingIn.Put(k.netns, n+1)
	s.missingAddrs.Put(k, n >= missingApart)
	return n >= missingApart
}

// flowHistory is what was seen of one direction of a flow, at any device. Times are nanoseconds since 1970, to save
// memory.
type flowHistory struct {
	maxTTL, minTTL uint8 // of its packets
	ttlFalls       uint8 // how often a packet had a smaller TTL than any before
	leftFrom       uint32
	left           int64 // when a packet was last seen to leave a namespace; 0 if none was
	first, last    int64
	packets        [2]packetSpan // the latest, and the one before it
}

// packetSpan is when one packet of a flow was seen.
type packetSpan struct {
	journey     uint64
	first, last int64
}

// after reports whether a packet of the flow was seen after t, and when the last one was.
func (l flowHistory) after(t time.Time) (time.Time, bool) {
	last := moment(l.last)
	return last, l.last != 0 && last.After(t)
}

func moment(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// nearly is the longest time between two sights of packets that are taken for simultaneous.
const nearly = int64(20 * time.Millisecond)

// sameTime reports whether two packets were in flight simultaneously, within nearly: not every sight of them is seen.
func (p packetSpan) sameTime(q packetSpan) bool {
	return p.first-q.last <= nearly && q.first-p.last <= nearly
}

// snatFlow is the original of a flow with SNAT, and when a packet of it was last seen.
type snatFlow struct {
	original packet.FlowTuple
	at       time.Time
}

// untranslatedFlow is a sender and a destination.
type untranslatedFlow struct {
	proto string
	from  netip.Addr
	to    netip.AddrPort
}

// netnsAddr is an address that a namespace lacks.
type netnsAddr struct {
	netns uint32
	addr  netip.Addr
}

// netnsDst is a destination of untranslated packets that leave a namespace.
type netnsDst struct {
	netns uint32 // 0 is any
	proto string
	to    netip.AddrPort
}

// learn takes in an event.
func (c *sideEffects) learn(e event.Event) {
	switch b := e.Body.(type) {
	case event.DNS:
		if b.Outcome == event.DNSAnswered && (!b.Backend.IsValid() || b.Backend == b.Server) {
			c.untranslatedTo.Put(netnsDst{0, b.Transport, b.Server}, true)
		}
	case event.Hop:
		if e.Packet != nil {
			c.hop(e, b)
		}
	case event.Drop:
		if e.Packet != nil && b.ByNetfilter() {
			c.tooBigDropped(e.Packet)
		}
		if e.Packet != nil && isFilteredND(e.Packet, b) {
			c.filteredND.Put(e.Packet.Src, true)
			c.filteredND.Put(e.Packet.Dst, true)
		}
	case event.NAT:
		if e.Packet != nil && b.State == event.NATMiss {
			c.leftUntranslated(e)
		}
	}
}

// outerPacket is the outer header of a tunnel packet that arrived.
type outerPacket struct {
	from netip.Addr
	to   netip.AddrPort
	mac  string // the inner destination MAC
}

// hop takes in a packet at a device. A packet that arrives from the destination of untranslated ones, and is not a reply
// by a backend, shows that a host has that address.
func (c *sideEffects) hop(e event.Event, h event.Hop) {
	c.trackFlow(e)
	if h.Conntrack.SNAT() {
		c.snatReplies.Put(natFlow{e.Packet.Proto, h.Conntrack.Reply}, snatFlow{h.Conntrack.Original, e.Time})
	}
	if t := e.Packet.Tunnel; t != nil && t.MAC != "" && e.Direction == event.In {
		c.tunneled.Put(flowOf(t.Packet), outerPacket{e.Packet.Src, e.Packet.Destination(), t.MAC})
	}
	if e.Direction != event.In || h.Conntrack.DNAT() || e.Packet.IsICMPError() || e.Packet.HasFlag('R') {
		return
	}
	at := netnsDst{e.Netns, e.Packet.Proto, e.Packet.Source()}
	if _, is := c.untranslatedTo.Get(at); is {
		c.untranslatedTo.Put(at, true)
	}
}

// trackFlow adds a packet to its flow's history.
func (c *sideEffects) trackFlow(e event.Event) {
	if e.Packet.IsICMPError() {
		return
	}
	now := e.Time.UnixNano()
	l := c.flows.Keep(e.Packet.FlowKey(), func() *flowHistory { return &flowHistory{first: now, minTTL: e.Packet.TTL} })
	if ttl := e.Packet.TTL; ttl < l.minTTL && l.ttlFalls < math.MaxUint8 {
		l.ttlFalls++
	}
	l.maxTTL, l.minTTL, l.last = max(l.maxTTL, e.Packet.TTL), min(l.minTTL, e.Packet.TTL), now
	if e.Journey == 0 || e.Journey != l.packets[0].journey && e.Journey != l.packets[1].journey {
		l.packets[0], l.packets[1] = packetSpan{e.Journey, now, now}, l.packets[0]
	}
	if e.Direction == event.Out {
		l.left, l.leftFrom = now, e.Netns
	}
	for i := range l.packets {
		if l.packets[i].journey == e.Journey {
			l.packets[i].last = now
		}
	}
}

// concurrent finds a packet of the same flow that was in flight while another one was lost, and returns when it was
// seen. began is the flow as its sender made it. Two packets that look the same may have been taken for one: then one of
// them left the namespace in which the other was lost.
func (c *sideEffects) concurrent(lost event.Event, began natFlow) (time.Time, bool) {
	l := c.historyOf(began, 0)
	for i, p := range l.packets {
		if q := l.packets[1-i]; p.journey == lost.Journey && p.journey != 0 && q.journey != 0 && p.sameTime(q) {
			return moment(q.first), true
		}
	}
	l = c.history(lost.Packet, false)
	apart := l.left - lost.Time.UnixNano()
	return moment(l.left), l.left != 0 && l.leftFrom == lost.Netns && max(apart, -apart) <= nearly
}

// historyOf returns the history of a flow; pings are distinguished by their identifier.
func (c *sideEffects) historyOf(f natFlow, echo uint16) flowHistory {
	return c.historyAt(f.flow.Key(f.proto, echo))
}

// history returns the history of a packet's flow, or of its replies.
func (c *sideEffects) history(p *packet.Packet, answers bool) flowHistory {
	key := p.FlowKey()
	if answers {
		key = key.Reverse()
	}
	return c.historyAt(key)
}

func (c *sideEffects) historyAt(key packet.FlowKey) flowHistory {
	if l, ok := c.flows.Get(key); ok {
		return *l
	}
	return flowHistory{}
}

// tooBigDropped takes in a packet-too-big error that was dropped.
func (c *sideEffects) tooBigDropped(p *packet.Packet) {
	if _, tooBig := p.TooBig(); !tooBig {
		return
	}
	if about := p.Quoted(); about != nil {
		c.lostTooBig.Put(natFlow{about.Proto, about.Flow()}, true)
	}
}

// ndFiltered reports whether a filter dropped neighbour discovery for a next hop.
func (c *sideEffects) ndFiltered(hop netip.Addr) bool {
	if !hop.Is6() || hop.Is4In6() {
		return false
	}
	group, low := [16]byte{0xff, 2, 11: 1, 12: 0xff}, hop.As16() // RFC 4291, 2.7.1
	copy(group[13:], low[13:])
	alone, _ := c.filteredND.Get(hop)
	all, _ := c.filteredND.Get(netip.AddrFrom16(group))
	return alone || all
}

// leftUntranslated takes in a packet that leaves a namespace with a service address as its destination.
func (c *sideEffects) leftUntranslated(e event.Event) {
	if _, known := c.untranslated.Get(untranslatedFlowOf(e)); !known {
		c.untranslated.Put(untranslatedFlowOf(e), e.Netns)
	}
	at := netnsDst{e.Netns, e.Packet.Proto, e.Packet.Destination()}
	answers, _ := c.untranslatedTo.Get(at)
	c.untranslatedTo.Put(at, answers)
}

func untranslatedFlowOf(e event.Event) untranslatedFlow {
	return untranslatedFlow{e.Packet.Proto, e.Packet.Src, e.Packet.Destination()}
}

// explained reports whether an earlier fault, which is a finding of its own, explains the drop of a packet: it was on
// its way to a service address untranslated, which no host has; or it was too big, and the ICMP error to its sender was
// filtered; or neighbour discovery for its next hop was filtered.
func (c *sideEffects) explained(e event.Event, f event.Finding) bool {
	if f.ID != "service-dnat-miss" && f.ID != "kube-proxy-rules-missing" && c.natNetns(e) != e.Netns && !c.serves(e) {
		return true
	}
	silenced, _ := c.lostTooBig.Get(natFlow{e.Packet.Proto, e.Packet.Flow()})
	return f.ID == "mtu-exceeded" && silenced
}

// natNetns is the namespace that should have translated a packet and did not; the event's own if that is not known.
func (c *sideEffects) natNetns(e event.Event) uint32 {
	if netns, is := c.untranslated.Get(untranslatedFlowOf(e)); is {
		return netns
	}
	return e.Netns
}

// serves reports whether a host answers at a packet's untranslated destination: it is no service address then, or
// another router translates it.
func (c *sideEffects) serves(e event.Event) bool {
	return c.servesAt(c.natNetns(e), e.Packet.Proto, e.Packet.Destination())
}

// servesAt is serves for a destination of packets of a namespace.
func (c *sideEffects) servesAt(netns uint32, proto string, to netip.AddrPort) bool {
	here, _ := c.untranslatedTo.Get(netnsDst{netns, proto, to})
	anywhere, _ := c.untranslatedTo.Get(netnsDst{0, proto, to})
	return here || anywhere
}

// maxTraceroute is the largest TTL that traceroute uses: it counts from 1 up to 30.
const maxTraceroute = 32

// isTraceroute reports whether the TTL of a packet's flow was never larger than traceroute's. A reply is none.
func (c *sideEffects) isTraceroute(e event.Event) bool {
	l := c.history(e.Packet, false)
	return l.first != 0 && l.maxTTL <= maxTraceroute && !isAnswer(e.Packet, l, c.history(e.Packet, true))
}

// loops reports whether packets of a flow were seen again and again, each time with a smaller TTL; known is whether the
// flow was seen at all.
func (c *sideEffects) loops(p *packet.Packet) (round, known bool) {
	const straightOn = 8 // the most routers on a path within one machine whose namespaces are nodes
	l := c.history(p, false)
	return l.ttlFalls > straightOn, l.first != 0
}
