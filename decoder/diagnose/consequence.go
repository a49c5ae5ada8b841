package diagnose

import (
	"net/netip"

	"ktrace/decoder"
)

// consequences is what was seen that explains what becomes of other packets.
type consequences struct {
	silenced map[natFlow]bool     // flows whose sender was to be told that its packets are too big, but a filter took the message
	strays   map[strayFlow]uint32 // packets that left for a service's address as they were, and the namespace that they left first
}

// strayFlow is whose packets, and where to.
type strayFlow struct {
	proto string
	from  netip.Addr
	to    netip.AddrPort
}

// maxConsequences is how many of each are remembered; when there are more, all are forgotten.
const maxConsequences = 1 << 14

func newConsequences() consequences {
	return consequences{silenced: map[natFlow]bool{}, strays: map[strayFlow]uint32{}}
}

// learn takes in what may have consequences.
func (c *consequences) learn(e decoder.Event) {
	switch b := e.Body.(type) {
	case decoder.Drop:
		if e.Packet == nil || !b.ByNetfilter() {
			return
		}
		if _, tooBig := e.Packet.TooBig(); !tooBig {
			return
		}
		if about := e.Packet.About(); about != nil {
			bounded(c.silenced)
			c.silenced[natFlow{about.Proto, about.Flow()}] = true
		}
	case decoder.NAT:
		if e.Packet == nil || b.State != decoder.NATMiss {
			return
		}
		bounded(c.strays)
		if _, known := c.strays[stray(e)]; !known {
			c.strays[stray(e)] = e.Netns
		}
	}
}

// bounded makes room for one more.
func bounded[K comparable, V any](all map[K]V) {
	if len(all) >= maxConsequences {
		clear(all)
	}
}

func stray(e decoder.Event) strayFlow {
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
	if netns, is := c.strays[stray(e)]; is {
		return netns
	}
	return e.Netns
}
