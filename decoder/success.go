package decoder

import (
	"net/netip"
	"slices"
	"time"
)

// successes are what works, and when: exchanges that were begun and answered.
type successes struct {
	asked    Recent[askedFlow, asked]
	works    Recent[successKey, *timeline]
	answered Recent[questionKey, time.Time] // last
}

// questionKey is what a server was asked.
type questionKey struct {
	server   netip.AddrPort
	question string
	netns    uint32 // as of successKey
}

type askedFlow struct {
	proto string
	flow  FlowTuple
}

// asked is how an exchange was begun, and where that was first seen. What comes back there was not lost on the way.
type asked struct {
	netns, ifindex uint32
	way            Direction
	big            bool
	backend        netip.AddrPort // as conntrack has it
	masked         netip.Addr     // the client behind translation
}

// successKey is who reached whom; no client is any. Of an address that each namespace has for itself it says where.
type successKey struct {
	level  attemptLevel
	proto  string
	client netip.Addr
	server netip.AddrPort
	big    bool
	netns  uint32
}

// maxSpans is how finely what works is told apart in time.
const maxSpans = 32

// observe takes in an event.
func (s *successes) observe(e Event) {
	switch b := e.Body.(type) {
	case Hop:
		if p := e.Packet; p != nil && p.Tunnel == nil && p.Fragment == 0 && !p.Dst.IsMulticast() && p.begins() {
			s.hop(e, p, b.Conntrack)
		}
	case DNS:
		if b.served() && e.Packet != nil {
			s.answered.Put(questionKey{b.Server, b.question(), ownNetns(b.Server, e.Netns)}, e.Time)
			s.worked(e, attemptQuery, b.Transport, []netip.Addr{e.Packet.Src}, []netip.AddrPort{b.Server, b.Backend}, true)
		}
	}
}

// hop takes in a packet that begins an exchange, or answers.
func (s *successes) hop(e Event, p *Packet, c *Conntrack) {
	flow, back := askedFlow{p.Proto, p.Flow()}, askedFlow{p.Proto, p.Flow().Reverse()}
	accepts := p.HasFlag('.') || p.IsICMP(0, 129)
	if a, ok := s.asked.Get(back); ok && (accepts || p.Proto == "udp") {
		if a.netns == e.Netns && a.ifindex == e.Ifindex && (a.way != e.Direction || a.way == "") {
			s.asked.Delete(back)
			s.worked(e, attemptOpen, p.Proto, []netip.Addr{back.flow.Src.Addr(), a.masked}, []netip.AddrPort{back.flow.Dst, a.backend}, a.big || p.Len > bigPacket)
		}
		return
	}
	a, known := s.asked.Get(flow)
	switch {
	case accepts:
	case c != nil && c.Original != flow.flow: // on its way behind translation, or back
		first := askedFlow{p.Proto, c.Original}
		if a, ok := s.asked.Get(first); ok && a.backend != c.Reply.Src {
			a.backend, a.masked = c.Reply.Src, c.Reply.Dst.Addr()
			s.asked.Put(first, a)
		}
	case !known:
		s.asked.Put(flow, asked{netns: e.Netns, ifindex: e.Ifindex, way: e.Direction, big: p.Len > bigPacket})
	case p.Len > bigPacket && !a.big:
		a.big = true
		s.asked.Put(flow, a)
	}
}

// worked counts a success for all by whom it may be asked for: by every address of both, and by any client's.
func (s *successes) worked(e Event, level attemptLevel, proto string, clients []netip.Addr, servers []netip.AddrPort, big bool) {
	clients = append(clients, netip.Addr{}) // which stands for any
	for i, server := range servers {
		if !server.IsValid() || slices.Contains(servers[:i], server) {
			continue
		}
		for j, client := range clients {
			if slices.Contains(clients[:j], client) {
				continue
			}
			k := successKey{level: level, proto: proto, client: client, server: server, netns: ownNetns(server, e.Netns)}
			s.count(e.Time, k)
			if k.big = big; big {
				s.count(e.Time, k)
			}
		}
	}
}

// ownNetns is the namespace if the address is one that each has for itself, else 0.
func ownNetns(a netip.AddrPort, netns uint32) uint32 {
	if a.Addr().IsLoopback() {
		return netns
	}
	return 0
}

func (s *successes) count(at time.Time, k successKey) {
	l, ok := s.works.Get(k)
	if !ok {
		l = &timeline{}
	}
	l.add(spanOf(at, at, 1), maxSpans)
	s.works.Put(k, l)
}

// repeated reports whether a query that failed has been asked again, and answered: another may be one that is easier.
func (s *successes) repeated(t Traffic, netns uint32) bool {
	return slices.ContainsFunc(t.Servers, func(server netip.AddrPort) bool {
		at, ok := s.answered.Get(questionKey{server, t.question, ownNetns(server, netns)})
		return ok && at.After(t.Last)
	})
}

// of is when what failed works: with a backend that it failed with, or with whatever the server's address stands for.
func (s *successes) of(t Traffic, netns uint32, sameBackend, anybody bool) timeline {
	clients, servers := t.Clients, t.Servers
	if anybody || len(clients) == 0 {
		clients = []netip.Addr{{}}
	}
	if sameBackend {
		servers = []netip.AddrPort{t.backend}
	}
	for _, client := range clients {
		for _, server := range servers {
			if l, ok := s.works.Get(successKey{t.level, t.Proto, client, server, t.big, ownNetns(server, netns)}); ok {
				return *l
			}
		}
	}
	return nil
}
