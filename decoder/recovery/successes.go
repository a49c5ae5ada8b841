// SPDX-License-Identifier: Apache-2.0

package recovery

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Successes are what works, and when: exchanges that were begun and answered.
type Successes struct {
	asked    bounded.Map[packet.FlowKey, exchange] // of flows, either way
	works    bounded.Map[successKey, *bounded.Timeline]
	answered bounded.Map[questionKey, time.Time] // last
	ended    endedPods
}

// questionKey is what a server was asked.
type questionKey struct {
	server   netip.AddrPort
	question string
	netns    uint32 // as of successKey
}

// exchange is what the two ends of a flow asked each other, the one with the lower address first.
type exchange [2]asked

// asked is how an exchange was begun, and where that was first seen. What comes back there was not lost on the way.
type asked struct {
	begun, big     bool
	netns, ifindex uint32
	way            event.Direction
	behind         *behind
}

// behind is where what a flow is translated to goes, as conntrack has it.
type behind struct {
	backend netip.AddrPort
	masked  netip.Addr // the client
}

// successKey is who reached whom; no client is any. Of an address that each namespace has for itself it says where.
type successKey struct {
	level  event.AttemptLevel
	proto  string
	client netip.Addr
	server netip.AddrPort
	big    bool
	netns  uint32
}

// maxSpans is how many times of success are kept apart.
const maxSpans = 32

// Observe takes in an event.
func (s *Successes) Observe(e event.Event) {
	switch b := e.Body.(type) {
	case event.Hop:
		if p := e.Packet; p != nil && p.Tunnel == nil && p.Fragment == 0 && !p.Dst.IsMulticast() && p.BeginsExchange() {
			s.hop(e, p, b.Conntrack)
		}
	case event.Fact:
		if b.Pod != nil {
			s.ended.learn(e.Time, *b.Pod)
		}
	case event.DNS:
		if b.Served() && e.Packet != nil {
			s.answered.Put(questionKey{b.Server, b.Question(), ownNetns(b.Server, e.Netns)}, e.Time)
			s.worked(e, event.AttemptQuery, b.Transport, [2]netip.Addr{e.Packet.Src}, [2]netip.AddrPort{b.Server, b.Backend}, true)
		}
	}
}

// hop takes in a packet that begins an exchange, or answers.
func (s *Successes) hop(e event.Event, p *packet.Packet, c *event.Conntrack) {
	flow := p.Flow()
	key, from, to := flow.Key(p.Proto, 0).Ends()
	x, _ := s.asked.Get(key)
	accepts := p.HasFlag('.') || p.IsICMP(0, 129)
	if a := x[to]; a.begun && (accepts || p.Proto == "udp") {
		if a.netns == e.Netns && a.ifindex == e.Ifindex && (a.way != e.Direction || a.way == "") {
			x[to] = asked{}
			s.keep(key, x)
			s.answer(e, a)
		}
		return
	}
	a := &x[from]
	switch {
	case accepts:
	case c != nil && c.Original != flow: // on its way behind translation, or back
		s.translate(p.Proto, c)
	case !a.begun:
		*a = asked{begun: true, netns: e.Netns, ifindex: e.Ifindex, way: e.Direction, big: p.Len > event.BigPacket}
		s.keep(key, x)
	case p.Len > event.BigPacket && !a.big:
		a.big = true
		s.keep(key, x)
	}
}

// keep remembers an exchange as long as something of it is not answered.
func (s *Successes) keep(key packet.FlowKey, x exchange) {
	if x[0].begun || x[1].begun {
		s.asked.Put(key, x)
		return
	}
	s.asked.Delete(key)
}

// translate takes note of what an exchange that was begun is translated to.
func (s *Successes) translate(proto string, c *event.Conntrack) {
	key, from, _ := c.Original.Key(proto, 0).Ends()
	x, _ := s.asked.Get(key)
	if a := &x[from]; a.begun && (a.behind == nil || a.behind.backend != c.Reply.Src) {
		a.behind = &behind{c.Reply.Src, c.Reply.Dst.Addr()}
		s.asked.Put(key, x)
	}
}

// answer takes in the answer to what was asked.
func (s *Successes) answer(e event.Event, a asked) {
	p := e.Packet
	clients, servers := [...]netip.Addr{p.Dst, {}}, [...]netip.AddrPort{p.Source(), {}}
	if a.behind != nil {
		clients[1], servers[1] = a.behind.masked, a.behind.backend
	}
	s.worked(e, event.AttemptOpen, p.Proto, clients, servers, a.big || p.Len > event.BigPacket)
}

// worked counts a success for all by whom it may be asked for: by every address of both, and by any client's.
func (s *Successes) worked(e event.Event, level event.AttemptLevel, proto string, known [2]netip.Addr, servers [2]netip.AddrPort, big bool) {
	clients := [...]netip.Addr{known[0], known[1], {}} // the last stands for any
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

func (s *Successes) count(at time.Time, k successKey) {
	s.works.Keep(k, func() *bounded.Timeline { return &bounded.Timeline{} }).Add(bounded.NewSpan(at, at, 1), maxSpans)
}

// repeated reports whether a query that failed has been asked again, and answered: another may be one that is easier.
func (s *Successes) repeated(t event.Traffic, netns uint32) bool {
	return slices.ContainsFunc(t.Servers, func(server netip.AddrPort) bool {
		at, ok := s.answered.Get(questionKey{server, t.Question, ownNetns(server, netns)})
		return ok && at.After(t.Last)
	})
}

// of is when what failed works: with a backend that it failed with, or with whatever the server's address stands for.
func (s *Successes) of(t event.Traffic, netns uint32, sameBackend, anyClient bool) bounded.Timeline {
	clients, servers := t.Clients, t.Servers
	if anyClient || len(clients) == 0 {
		clients = []netip.Addr{{}}
	}
	if sameBackend {
		servers = []netip.AddrPort{t.Backend}
	}
	for _, client := range clients {
		for _, server := range servers {
			if l, ok := s.works.Get(successKey{t.Level, t.Proto, client, server, t.Big, ownNetns(server, netns)}); ok {
				return *l
			}
		}
	}
	return nil
}
