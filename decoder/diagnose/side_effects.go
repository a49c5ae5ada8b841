package diagnose

import (
	"math"
	"net/netip"
	"time"

	"ktrace/decoder"
)

// consequences is what was seen that explains what becomes of other packets, or shows that nothing is wrong with them.
type consequences struct {
	silenced decoder.Recent[natFlow, bool]          // flows whose sender was sent "packet too big", but a filter dropped that
	unasked  decoder.Recent[netip.Addr, bool]       // who was asked for its link address, or answered, where a filter took that: itself, or its multicast group
	strays   decoder.Recent[strayFlow, uint32]      // packets that left for a service's address as they were, and the namespace that they left first
	sought   decoder.Recent[soughtAt, bool]         // where those go to; true once a host answers there that is no backend
	gone     decoder.Recent[goneAddress, bool]      // addresses that the hosts which are to have them lack
	lives    decoder.Recent[decoder.FlowKey, *life] // of flows; each ping has one of its own, as pings have no ports
	answers  decoder.Recent[natFlow, translated]    // flows whose source is translated, by the answers that are expected
	carried  decoder.Recent[natFlow, carrier]       // what arrived in tunnels, by the flow of who is carried
}

// life is what was seen of a flow's one direction, wherever that was. Times are nanoseconds since 1970: there are many.
type life struct {
	most, least uint8 // the most routers that a packet of it had before it, and the fewest
	falls       uint8 // how often one had fewer before it than any earlier
	leftFrom    uint32
	left        int64 // when one was last seen to leave a namespace, and which; 0 if none was
	first, last int64
	packets     [2]packetLife // the latest, and the one before it
}

// packetLife is when one packet of a flow was seen.
type packetLife struct {
	journey     uint64
	first, last int64
}

// after reports whether something of it was seen later, and when that was.
func (l life) after(t time.Time) (time.Time, bool) {
	last := moment(l.last)
	return last, l.last != 0 && last.After(t)
}

func moment(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// nearly is how far apart two things may be seen that were at one time.
const nearly = int64(20 * time.Millisecond)

// sameTime reports whether two packets were on their way at once, or nearly so: what was seen of them may be a part.
func (p packetLife) sameTime(q packetLife) bool {
	return p.first-q.last <= nearly && q.first-p.last <= nearly
}

// translated is what a flow was translated to, and when a packet of it last was.
type translated struct {
	original decoder.FlowTuple
	at       time.Time
}

// strayFlow is whose packets, and where to.
type strayFlow struct {
	proto string
	from  netip.Addr
	to    netip.AddrPort
}

// goneAddress is an address that a namespace lacks.
type goneAddress struct {
	netns uint32
	addr  netip.Addr
}

// soughtAt is an address that packets leave a namespace for as if it were somebody's.
type soughtAt struct {
	netns uint32 // 0 is any
	proto string
	to    netip.AddrPort
}

// learn takes in what may have consequences.
func (c *consequences) learn(e decoder.Event) {
	switch b := e.Body.(type) {
	case decoder.DNS:
		if b.Outcome == decoder.DNSAnswered && (!b.Backend.IsValid() || b.Backend == b.Server) {
			c.sought.Put(soughtAt{0, b.Transport, b.Server}, true)
		}
	case decoder.Hop:
		if e.Packet != nil {
			c.hop(e, b)
		}
	case decoder.Drop:
		if e.Packet != nil && b.ByNetfilter() {
			c.silence(e.Packet)
		}
		if e.Packet != nil && unasked(e.Packet, b) {
			c.unasked.Put(e.Packet.Src, true)
			c.unasked.Put(e.Packet.Dst, true)
		}
	case decoder.NAT:
		if e.Packet != nil && b.State == decoder.NATMiss {
			c.stray(e)
		}
	}
}

// carrier is what brought a packet through a tunnel.
type carrier struct {
	from netip.Addr
	to   netip.AddrPort
	mac  string // that the frame which it carried is for
}

// hop takes in a packet on its way. One that comes from an address which others leave for, and is no backend's answer,
// shows that somebody is there.
func (c *consequences) hop(e decoder.Event, h decoder.Hop) {
	c.live(e)
	if h.Conntrack.SNAT() {
		c.answers.Put(natFlow{e.Packet.Proto, h.Conntrack.Reply}, translated{h.Conntrack.Original, e.Time})
	}
	if t := e.Packet.Tunnel; t != nil && t.MAC != "" && e.Direction == decoder.In {
		c.carried.Put(flowOf(t.Packet), carrier{e.Packet.Src, e.Packet.Destination(), t.MAC})
	}
	if e.Direction != decoder.In || h.Conntrack.DNAT() || e.Packet.IsICMPError() || e.Packet.HasFlag('R') {
		return
	}
	at := soughtAt{e.Netns, e.Packet.Proto, e.Packet.Source()}
	if _, is := c.sought.Get(at); is {
		c.sought.Put(at, true)
	}
}

// live takes in a packet of a flow.
func (c *consequences) live(e decoder.Event) {
	if e.Packet.IsICMPError() {
		return
	}
	now := e.Time.UnixNano()
	l := c.lives.Keep(e.Packet.FlowKey(), func() *life { return &life{first: now, least: e.Packet.TTL} })
	if ttl := e.Packet.TTL; ttl < l.least && l.falls < math.MaxUint8 {
		l.falls++
	}
	l.most, l.least, l.last = max(l.most, e.Packet.TTL), min(l.least, e.Packet.TTL), now
	if e.Journey == 0 || e.Journey != l.packets[0].journey && e.Journey != l.packets[1].journey {
		l.packets[0], l.packets[1] = packetLife{e.Journey, now, now}, l.packets[0]
	}
	if e.Direction == decoder.Out {
		l.left, l.leftFrom = now, e.Netns
	}
	for i := range l.packets {
		if l.packets[i].journey == e.Journey {
			l.packets[i].last = now
		}
	}
}

// rival finds a packet of the same flow that was on its way while another was, which was lost, and returns when it was
// seen. began is the flow as its sender made it. Two packets may be alike so much that they are taken for one; then one left
// the namespace in which the other was lost.
func (c *consequences) rival(lost decoder.Event, began natFlow) (time.Time, bool) {
	l := c.lifeOf(began, 0)
	for i, p := range l.packets {
		if q := l.packets[1-i]; p.journey == lost.Journey && p.journey != 0 && q.journey != 0 && p.sameTime(q) {
			return moment(q.first), true
		}
	}
	l = c.life(lost.Packet, false)
	apart := l.left - lost.Time.UnixNano()
	return moment(l.left), l.left != 0 && l.leftFrom == lost.Netns && max(apart, -apart) <= nearly
}

// lifeOf is what was seen of a flow, pings by the number in their header.
func (c *consequences) lifeOf(f natFlow, echo uint16) life {
	return c.lifeAt(f.flow.Key(f.proto, echo))
}

// life is what was seen of the flow of a packet, or of its answers.
func (c *consequences) life(p *decoder.Packet, answers bool) life {
	key := p.FlowKey()
	if answers {
		key = key.Reverse()
	}
	return c.lifeAt(key)
}

func (c *consequences) lifeAt(key decoder.FlowKey) life {
	if l, ok := c.lives.Get(key); ok {
		return *l
	}
	return life{}
}

// silence takes in a message to a sender that did not arrive.
func (c *consequences) silence(p *decoder.Packet) {
	if _, tooBig := p.TooBig(); !tooBig {
		return
	}
	if about := p.About(); about != nil {
		c.silenced.Put(natFlow{about.Proto, about.Flow()}, true)
	}
}

// neverAsked reports whether a filter took what was to find out a host's link address.
func (c *consequences) neverAsked(hop netip.Addr) bool {
	if !hop.Is6() || hop.Is4In6() {
		return false
	}
	group, low := [16]byte{0xff, 2, 11: 1, 12: 0xff}, hop.As16() // RFC 4291, 2.7.1
	copy(group[13:], low[13:])
	alone, _ := c.unasked.Get(hop)
	all, _ := c.unasked.Get(netip.AddrFrom16(group))
	return alone || all
}

// stray takes in a packet that leaves a namespace for a service's address as it is.
func (c *consequences) stray(e decoder.Event) {
	if _, known := c.strays.Get(strayOf(e)); !known {
		c.strays.Put(strayOf(e), e.Netns)
	}
	at := soughtAt{e.Netns, e.Packet.Proto, e.Packet.Destination()}
	answers, _ := c.sought.Get(at)
	c.sought.Put(at, answers)
}

func strayOf(e decoder.Event) strayFlow {
	return strayFlow{e.Packet.Proto, e.Packet.Src, e.Packet.Destination()}
}

// explained reports whether the drop of a packet follows from what went wrong before, which is reported itself: it was
// on its way to a service's address though nobody is there, and whoever gets it can but drop it; or it was too big, and
// the message that would have told its sender so was filtered; or what was to find out the next host's link address was.
func (c *consequences) explained(e decoder.Event, f decoder.Finding) bool {
	if f.ID != "service-dnat-miss" && f.ID != "kube-proxy-rules-missing" && c.left(e) != e.Netns && !c.serves(e) {
		return true
	}
	if f.ID == "neighbour-failed" && f.Subject == unaskedNeighbour {
		return true
	}
	silenced, _ := c.silenced.Get(natFlow{e.Packet.Proto, e.Packet.Flow()})
	return f.ID == "mtu-exceeded" && silenced
}

// left is the namespace that was to translate a packet and let it go as it was; the event's own if that is not known.
func (c *consequences) left(e decoder.Event) uint32 {
	if netns, is := c.strays.Get(strayOf(e)); is {
		return netns
	}
	return e.Netns
}

// serves reports whether somebody answers at the address that a packet went to as it was, so that it is no service's,
// or one that another router translates.
func (c *consequences) serves(e decoder.Event) bool {
	return c.servesAt(c.left(e), e.Packet.Proto, e.Packet.Destination())
}

// servesAt is serves for an address that packets of a namespace go to.
func (c *consequences) servesAt(netns uint32, proto string, to netip.AddrPort) bool {
	here, _ := c.sought.Get(soughtAt{netns, proto, to})
	anywhere, _ := c.sought.Get(soughtAt{0, proto, to})
	return here || anywhere
}

// longestTrace is the most routers that traceroute looks behind: it counts from 1 up to 30.
const longestTrace = 32

// meantToEnd reports whether a packet's flow never had more life than what looks for the routers on a way gives it. An
// answer looks for none.
func (c *consequences) meantToEnd(e decoder.Event) bool {
	l := c.life(e.Packet, false)
	return l.first != 0 && l.most <= longestTrace && !isAnswer(e.Packet, l, c.life(e.Packet, true))
}

// comesRound reports whether packets of a flow were seen again and again, each time with less life, and whether enough was
// seen to say so.
func (c *consequences) comesRound(p *decoder.Packet) (round, known bool) {
	const straightOn = 8 // as many routers as one machine has on a way, with nodes that are its namespaces
	l := c.life(p, false)
	return l.falls > straightOn, l.first != 0
}
