// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Datagrams is the rule for UDP that is not answered. Most protocols over UDP answer, and some never do, so it takes a
// datagram for a failure only where its sender asked again and again, or where the server answers others; and of those, for
// one of size where large ones are lost and small ones are answered. It wants hops of UDP, of their drops and of ICMP errors.
type Datagrams struct {
	state     *State
	exchanges *bounded.Table[udpKey, *udpExchange]
	journeys  bounded.Map[uint64, *udpExchange]
	clients   bounded.Map[udpEnd, *udpExchange] // by the end that answers are for, the latest
	heard     bounded.Map[udpEnd, bool]         // ends that datagrams came to
	served    bounded.Map[netip.AddrPort, int]  // exchanges that a server, or a service, answered
	silent    bounded.Map[netip.Addr, int]      // exchanges of a client that nobody answered
	sizes     bounded.Map[direction, *udpSizes]
	reached   bounded.Map[netip.Addr, bool] // who gets any of the captured packets
	checked   time.Time
}

// udpKey is a flow in the namespace of its sender.
type udpKey struct {
	netns uint32
	flow  packet.FlowTuple
}

// udpEnd is a port of a namespace.
type udpEnd struct {
	netns uint32
	end   netip.AddrPort
}

const (
	// maxExchanges bounds the exchanges that are watched.
	maxExchanges = 4096
	// dnsPort is that of DNS, which has rules of its own, and makes more exchanges than all else.
	dnsPort = 53
)

// NewDatagrams returns the rule; state must observe events before it.
func NewDatagrams(state *State) *Datagrams {
	return &Datagrams{state: state, exchanges: bounded.NewTable[udpKey, *udpExchange](maxExchanges)}
}

// Observe implements stage.Rule.
func (r *Datagrams) Observe(e event.Event) []event.Finding {
	if e.Packet == nil {
		return nil
	}
	switch b := e.Body.(type) {
	case event.Hop:
		if b.Captured {
			r.reached.Put(e.Packet.Dst, true)
		}
		inner, ct, in := event.Carried(e, b.Conntrack)
		switch p := inner.Packet; {
		case p.IsICMPError():
			r.trouble(e.Netns, p.Quoted().Innermost(), nil)
		case p.Proto == "udp" && p.Fragment == 0 && p.Sport != 0 && p.Sport != dnsPort && p.Dport != dnsPort:
			r.hop(inner, b, ct, in)
		}
	case event.Drop:
		inner, ct, _ := event.Carried(e, b.Conntrack)
		if x, ok := r.journeys.Get(e.Journey); ok && e.Journey != 0 {
			x.troubled = true
		}
		r.trouble(e.Netns, inner.Packet, ct)
	}
	return nil
}

// trouble notes that other rules know what became of a datagram.
func (r *Datagrams) trouble(netns uint32, p *packet.Packet, ct *event.Conntrack) {
	if p == nil || p.Proto != "udp" {
		return
	}
	for _, end := range []netip.AddrPort{p.Source(), p.Destination()} {
		if x, ok := r.clients.Get(udpEnd{netns, end}); ok && x.flow() == p.Flow() || ok && x.flow() == p.Flow().Reverse() {
			x.troubled = true
		}
	}
	if ct != nil {
		if x, ok := r.clients.Get(udpEnd{0, ct.Original.Src}); ok {
			x.troubled = true
		}
	}
}

// hop takes in a datagram at a device: an answer, one on its way, or one that a socket sends.
func (r *Datagrams) hop(e event.Event, h event.Hop, ct *event.Conntrack, in *event.Carrier) {
	if x, ok := r.journeys.Get(e.Journey); ok && e.Journey != 0 {
		x.seen(e, ct, in)
	} else if (e.Direction == event.Out && h.SocketNetns == e.Netns || h.Captured) && !r.answers(e, h) {
		r.sent(e, ct, in)
	}
	if e.Direction == event.In || h.Captured {
		r.received(e, h)
	}
}

// answers reports whether a datagram is sent by who was asked first.
func (r *Datagrams) answers(e event.Event, h event.Hop) bool {
	from := udpEnd{e.Netns, e.Packet.Source()}
	if _, asks := r.clients.Get(from); asks {
		return false
	}
	_, heard := r.heard.Get(from)
	if h.Captured && !heard {
		_, heard = r.clients.Get(udpEnd{e.Netns, e.Packet.Destination()})
	}
	_, answers := e.Packet.RequestOrReply()
	return heard || answers
}

// sent takes in a datagram where its sender's namespace sends it.
func (r *Datagrams) sent(e event.Event, ct *event.Conntrack, in *event.Carrier) {
	p := e.Packet
	if p.Dst.IsMulticast() || p.Dst.IsLoopback() || isBroadcast(p.Dst) {
		return
	}
	key := udpKey{e.Netns, p.Flow()}
	x, ok := r.exchanges.Get(key)
	if !ok {
		x = &udpExchange{first: e, asked: p.Destination()}
		r.exchanges.Put(event.OwnerAt(e), key, x, 1)
		r.clients.Put(udpEnd{e.Netns, p.Source()}, x)
		r.clients.Put(udpEnd{0, p.Source()}, x)
	}
	x.send(e)
	x.seen(e, ct, in)
	if e.Journey != 0 {
		r.journeys.Put(e.Journey, x)
	}
}

// isBroadcast reports whether an address is that of all hosts, of any link or of one whose prefix is whole bytes.
func isBroadcast(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	b := a.As4()
	return b[3] == 255
}

// received takes in a datagram that arrives: its sender answers what was last sent from there. Some servers answer from
// another port (TFTP, RFC 1350), or another address.
func (r *Datagrams) received(e event.Event, h event.Hop) {
	to := udpEnd{e.Netns, e.Packet.Destination()}
	x, asked := r.clients.Get(to)
	if !asked {
		r.heard.Put(to, true)
		return
	}
	if y, ok := r.exchanges.Get(udpKey{e.Netns, e.Packet.Flow().Reverse()}); ok {
		x = y
	}
	if x.answers == 0 {
		for _, at := range []netip.AddrPort{x.asked, x.backend} {
			if n, _ := r.served.Get(at); at.IsValid() {
				r.served.Put(at, n+1)
			}
		}
	}
	if size, silent := x.answered(); size > 0 {
		r.sizesOf(x).passed(x, e.Time, size, silent)
	}
}

// Flush implements stage.Rule.
func (r *Datagrams) Flush(now time.Time, final bool) []event.Finding {
	if !final && now.Sub(r.checked) < time.Second {
		return nil
	}
	r.checked = now
	found := r.holes()
	for key, x := range r.exchanges.All() {
		if x.reported || x.troubled || x.open.at.IsZero() {
			continue
		}
		if lost := x.unanswered(now); final || len(lost) > 0 && now.Sub(lost[0].at) >= udpWatched {
			if f, ok := r.judge(x, lost); ok {
				x.reported = true
				found = append(found, f)
			}
		}
		if now.Sub(x.open.at) > 2*retryLongest {
			r.exchanges.Delete(key)
		}
	}
	return found
}

// Summarize implements event.Summarizer.
func (r *Datagrams) Summarize(s *event.Summary) {
	s.AddEvicted("exchanges over UDP", r.exchanges.Evicted())
}
