package diagnose

import (
	"math"
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// sideEffects is what was seen that explains what becomes of other packets, or shows that nothing is wrong with them.
type sideEffects struct {
	lostTooBig     bounded.Map[natFlow, bool]                // flows whose sender was sent "packet too big", but a filter dropped that
	filteredND     bounded.Map[netip.Addr, bool]             // who was asked for its link address, or answered, where a filter took that: itself, or its multicast group
	untranslated   bounded.Map[untranslatedFlow, uint32]     // packets that left for a service's address as they were, and the namespace that they left first
	untranslatedTo bounded.Map[netnsDst, bool]               // where those go to; true once a host answers there that is no backend
	missingAddrs   bounded.Map[netnsAddr, bool]              // addresses that the hosts which are to have them lack
	flows          bounded.Map[packet.FlowKey, *flowHistory] // of flows; each ping has one of its own, as pings have no ports
	snatReplies    bounded.Map[natFlow, snatFlow]            // flows whose source is translated, by the answers that are expected
	tunneled       bounded.Map[natFlow, outerPacket]         // what arrived in tunnels, by the flow of who is carried
}

// flowHistory is what was seen of a flow's one direction, wherever that was. Times are nanoseconds since 1970: there are many.
type flowHistory struct {
	maxTTL, minTTL uint8 // the most routers that a packet of it had before it, and the fewest
	ttlFalls       uint8 // how often one had fewer before it than any earlier
	leftFrom       uint32
	left           int64 // when one was last seen to leave a namespace, and which; 0 if none was
	first, last    int64
	packets        [2]packetSpan // the latest, and the one before it
}

// packetSpan is when one packet of a flow was seen.
type packetSpan struct {
	journey     uint64
	first, last int64
}

// after reports whether something of it was seen later, and when that was.
func (l flowHistory) after(t time.Time) (time.Time, bool) {
	last := moment(l.last)
	return last, l.last != 0 && last.After(t)
}

func moment(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// nearly is how far apart two things may be seen that were at one time.
const nearly = int64(20 * time.Millisecond)

// sameTime reports whether two packets were on their way at once, or nearly so: what was seen of them may be a part.
func (p packetSpan) sameTime(q packetSpan) bool {
	return p.first-q.last <= nearly && q.first-p.last <= nearly
}

// snatFlow is what a flow was translated to, and when a packet of it last was.
type snatFlow struct {
	original packet.FlowTuple
	at       time.Time
}

// untranslatedFlow is whose packets, and where to.
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

// netnsDst is an address that packets leave a namespace for as if it were somebody's.
type netnsDst struct {
	netns uint32 // 0 is any
	proto string
	to    netip.AddrPort
}

// learn takes in what may have consequences.
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

// outerPacket is what brought a packet through a tunnel.
type outerPacket struct {
	from netip.Addr
	to   netip.AddrPort
	mac  string // that the frame which it carried is for
}

// hop takes in a packet on its way. One that comes from an address which others leave for, and is no backend's answer,
// shows that somebody is there.
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

// trackFlow takes in a packet of a flow.
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

// concurrent finds a packet of the same flow that was on its way while another was, which was lost, and returns when it was
// seen. began is the flow as its sender made it. Two packets may be alike so much that they are taken for one; then one left
// the namespace in which the other was lost.
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

// historyOf is what was seen of a flow, pings by the number in their header.
func (c *sideEffects) historyOf(f natFlow, echo uint16) flowHistory {
	return c.historyAt(f.flow.Key(f.proto, echo))
}

// history is what was seen of the flow of a packet, or of its answers.
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

// tooBigDropped takes in a message to a sender that did not arrive.
func (c *sideEffects) tooBigDropped(p *packet.Packet) {
	if _, tooBig := p.TooBig(); !tooBig {
		return
	}
	if about := p.About(); about != nil {
		c.lostTooBig.Put(natFlow{about.Proto, about.Flow()}, true)
	}
}

// ndFiltered reports whether a filter took what was to find out a host's link address.
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

// leftUntranslated takes in a packet that leaves a namespace for a service's address as it is.
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

// explained reports whether the drop of a packet follows from what went wrong before, which is reported itself: it was
// on its way to a service's address though nobody is there, and whoever gets it can but drop it; or it was too big, and
// the ICMP error to its sender was filtered.
func (c *sideEffects) explained(e event.Event, f event.Finding) bool {
	if f.ID != "service-dnat-miss" && f.ID != "kube-proxy-rules-missing" && c.natNetns(e) != e.Netns && !c.serves(e) {
		return true
	}
	silenced, _ := c.lostTooBig.Get(natFlow{e.Packet.Proto, e.Packet.Flow()})
	return f.ID == "mtu-exceeded" && silenced
}

// natNetns is the namespace that was to translate a packet and let it go as it was; the event's own if that is not known.
func (c *sideEffects) natNetns(e event.Event) uint32 {
	if netns, is := c.untranslated.Get(untranslatedFlowOf(e)); is {
		return netns
	}
	return e.Netns
}

// serves reports whether somebody answers at the address that a packet went to as it was, so that it is no service's,
// or one that another router translates.
func (c *sideEffects) serves(e event.Event) bool {
	return c.servesAt(c.natNetns(e), e.Packet.Proto, e.Packet.Destination())
}

// servesAt is serves for an address that packets of a namespace go to.
func (c *sideEffects) servesAt(netns uint32, proto string, to netip.AddrPort) bool {
	here, _ := c.untranslatedTo.Get(netnsDst{netns, proto, to})
	anywhere, _ := c.untranslatedTo.Get(netnsDst{0, proto, to})
	return here || anywhere
}

// maxTraceroute is the most routers that traceroute looks behind: it counts from 1 up to 30.
const maxTraceroute = 32

// isTraceroute reports whether a packet's flow never had more life than what looks for the routers on a way gives it. An
// answer looks for none.
func (c *sideEffects) isTraceroute(e event.Event) bool {
	l := c.history(e.Packet, false)
	return l.first != 0 && l.maxTTL <= maxTraceroute && !isAnswer(e.Packet, l, c.history(e.Packet, true))
}

// loops reports whether packets of a flow were seen again and again, each time with less life, and whether enough was
// seen to say so.
func (c *sideEffects) loops(p *packet.Packet) (round, known bool) {
	const straightOn = 8 // as many routers as one machine has on a way, with nodes that are its namespaces
	l := c.history(p, false)
	return l.ttlFalls > straightOn, l.first != 0
}
