package diagnose

import (
	"net/netip"

	"ktrace/decoder"
)

// consequences is what was seen that explains what becomes of other packets, or shows that nothing is wrong with them.
type consequences struct {
	silenced map[natFlow]bool     // flows whose sender was to be told that its packets are too big, but a filter took the message
	strays   map[strayFlow]uint32 // packets that left for a service's address as they were, and the namespace that they left first
	sought   map[soughtAt]bool    // where those go to; true once somebody answers there who is no backend
	lives    map[natFlow]uint8    // the most routers that a packet of the flow was seen with before it
}

// strayFlow is whose packets, and where to.
type strayFlow struct {
	proto string
	from  netip.Addr
	to    netip.AddrPort
}

// soughtAt is an address that packets leave a namespace for as if it were somebody's.
type soughtAt struct {
	netns uint32 // 0 is any
	proto string
	to    netip.AddrPort
}

// maxConsequences is how many of each are remembered; when there are more, all are forgotten.
const maxConsequences = 1 << 14

func newConsequences() consequences {
	return consequences{silenced: map[natFlow]bool{}, strays: map[strayFlow]uint32{}, sought: map[soughtAt]bool{}, lives: map[natFlow]uint8{}}
}

// learn takes in what may have consequences.
func (c *consequences) learn(e decoder.Event) {
	switch b := e.Body.(type) {
	case decoder.DNS:
		if b.Outcome == decoder.DNSAnswered && (!b.Backend.IsValid() || b.Backend == b.Server) {
			c.answered(soughtAt{0, b.Transport, b.Server})
		}
	case decoder.Hop:
		if e.Packet != nil {
			c.hop(e, b)
		}
	case decoder.Drop:
		if e.Packet != nil && b.ByNetfilter() {
			c.silence(e.Packet)
		}
	case decoder.NAT:
		if e.Packet != nil && b.State == decoder.NATMiss {
			c.stray(e)
		}
	}
}

// hop takes in a packet on its way. One that comes from an address which others leave for, and is no backend's answer,
// shows that somebody is there.
func (c *consequences) hop(e decoder.Event, h decoder.Hop) {
	bounded(c.lives)
	flow := natFlow{e.Packet.Proto, e.Packet.Flow()}
	c.lives[flow] = max(c.lives[flow], e.Packet.TTL)
	at := soughtAt{e.Netns, e.Packet.Proto, e.Packet.Source()}
	if _, is := c.sought[at]; is && e.Direction == decoder.In && !h.Conntrack.DNAT() && !e.Packet.IsICMPError() && !e.Packet.HasFlag('R') {
		c.sought[at] = true
	}
}

func (c *consequences) answered(at soughtAt) {
	bounded(c.sought)
	c.sought[at] = true
}

// silence takes in a message to a sender that did not arrive.
func (c *consequences) silence(p *decoder.Packet) {
	if _, tooBig := p.TooBig(); !tooBig {
		return
	}
	if about := p.About(); about != nil {
		bounded(c.silenced)
		c.silenced[natFlow{about.Proto, about.Flow()}] = true
	}
}

// stray takes in a packet that leaves a namespace for a service's address as it is.
func (c *consequences) stray(e decoder.Event) {
	bounded(c.strays)
	if _, known := c.strays[strayOf(e)]; !known {
		c.strays[strayOf(e)] = e.Netns
	}
	bounded(c.sought)
	if at := (soughtAt{e.Netns, e.Packet.Proto, e.Packet.Destination()}); !c.sought[at] {
		c.sought[at] = false
	}
}

// bounded makes room for one more.
func bounded[K comparable, V any](all map[K]V) {
	if len(all) >= maxConsequences {
		clear(all)
	}
}

func strayOf(e decoder.Event) strayFlow {
	return strayFlow{e.Packet.Proto, e.Packet.Src, e.Packet.Destination()}
}

// explained reports whether the drop of a packet follows from what went wrong before, which is reported itself: it was
// on its way to a service's address though nobody is there, and whoever gets it can but drop it; or it was too big, and
// the message that would have told its sender so was filtered.
func (c *consequences) explained(e decoder.Event, f decoder.Finding) bool {
	if f.ID != "service-dnat-miss" && f.ID != "kube-proxy-rules-missing" && c.left(e) != e.Netns {
		return true
	}
	return f.ID == "mtu-exceeded" && c.silenced[natFlow{e.Packet.Proto, e.Packet.Flow()}]
}

// left is the namespace that was to translate a packet and let it go as it was; the event's own if that is not known.
func (c *consequences) left(e decoder.Event) uint32 {
	if netns, is := c.strays[strayOf(e)]; is {
		return netns
	}
	return e.Netns
}

// serves reports whether somebody answers at the address that a packet went to as it was, so that it is no service's,
// or one that another router translates.
func (c *consequences) serves(e decoder.Event) bool {
	at := soughtAt{c.left(e), e.Packet.Proto, e.Packet.Destination()}
	return c.sought[at] || c.sought[soughtAt{0, at.proto, at.to}]
}

// longestTrace is the most routers that traceroute looks behind: it counts from 1 up to 30.
const longestTrace = 32

// meantToEnd reports whether a packet's flow never had more life than what looks for the routers on a way gives it.
func (c *consequences) meantToEnd(e decoder.Event) bool {
	most, seen := c.lives[natFlow{e.Packet.Proto, e.Packet.Flow()}]
	return seen && most <= longestTrace
}
