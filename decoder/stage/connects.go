// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Connects is the stage that makes one Flow of each attempt to connect that gets no answer: of the SYNs and answers at devices,
// of their drops and ICMP errors, and of what the client's socket reports. It wants packets with SYN or RST, ICMP errors, drops
// as NewDrops completes them, and the reports of sockets; it passes all of them on but those that Flow is made of.
//
//	SYNs, drops ──► by journey, by namespace and flow ──► attempt ──► answered; or after its time ──► Flow
type Connects struct {
	byFlow    map[flowAt]*attempt
	byJourney map[uint64]*attempt
	held      bounded.Pool[*attempt]
	open      []*attempt // in the order in which they began
	answered  bounded.Map[netip.AddrPort, served]
	reached   bounded.Map[clientPort, time.Time]  // when a connection of the client to the port of any server was answered
	heard     bounded.Map[netip.Addr, bool]       // who gets any of the captured packets
	ports     bounded.Map[netip.Addr, *ports]     // that clients asked for without an answer
	backends  bounded.Map[flowAt, netip.AddrPort] // what connections that were answered are translated to
	books     *event.FlowBooks                    // of the kernel half, as they were reported last
	only      event.Single
}

// flowAt is a flow in a network namespace: addresses are a namespace's own.
type flowAt struct {
	netns uint32
	flow  packet.FlowTuple
}

// clientPort is who connects, and to which port: a process, or, where none is known, an address.
type clientPort struct {
	netns, pid uint32
	addr       netip.Addr
	port       uint16
}

func (a *attempt) clientPort() clientPort {
	k := clientPort{netns: a.first.Netns, pid: a.first.PID, port: a.server().Port()}
	if k.pid == 0 {
		k.addr = a.first.Packet.Src
	}
	return k
}

// served is what became of the connections to a server; port 0 counts those to all ports of its address.
type served struct{ answered, unanswered int }

// How long an attempt is watched, by the events' clock.
const (
	connectWait   = 4 * time.Second        // for an answer, before it is judged: at least one SYN is sent again in it
	connectGrace  = 300 * time.Millisecond // for what explains a failure, once the socket reports it
	connectAnswer = time.Second            // for an answer that is on the node, to reach the client
	connectForget = 2 * time.Minute        // a client gives up by then (tcp_syn_retries 6: 127 s)
	loneSYN       = 10 * time.Second       // for one that is not sent again: its client gave up, or the capture lacks the rest
	enoughSYNs    = 2                      // that are not answered: any network loses one
)

// maxAttempts is how many bytes the attempts take that have no answer yet. In a flood those of the namespace with the most are
// not watched, the newest first.
const maxAttempts = 6 << 20

// evictedSlack is how many attempts that are over may be in the list in any case, before it is gone through.
const evictedSlack = 256

// NewConnects returns the stage.
func NewConnects() *Connects {
	c := &Connects{byFlow: map[flowAt]*attempt{}, byJourney: map[uint64]*attempt{}}
	c.held.Most, c.held.Newest = maxAttempts, true
	c.held.Evict = func(a *attempt) { a.over = true; c.unlink(a) }
	return c
}

// Observe implements Stage.
func (c *Connects) Observe(e event.Event) []event.Event {
	switch b := e.Body.(type) {
	case event.Fact:
		if inode, replaced := b.ReplacedNetns(); replaced {
			c.forgetNetns(inode)
		}
		if b.FlowBooks != nil {
			c.books = b.FlowBooks
		}
	case event.Flow:
		return c.reported(e, b)
	case event.Hop:
		if e.Packet != nil {
			c.hop(e, b)
		}
	case event.Drop:
		if e.Packet != nil && b.Noise == "" {
			c.drop(e, b)
		}
	case event.Sock:
		if b.Op == event.SockSynLost && e.Packet != nil {
			if a := c.byFlow[flowAt{e.Netns, e.Packet.Flow()}]; a != nil {
				a.overflowed = true
			}
		}
	}
	return c.only.Event(e)
}

// reported takes in what a socket of this node says of its attempt. What it says of an established connection passes, with what
// that is translated to.
func (c *Connects) reported(e event.Event, f event.Flow) []event.Event {
	if f.TCP != nil {
		f.Backend, _ = c.backends.Get(flowAt{e.Netns, e.Packet.Flow()})
		e.Body = f
		return c.only.Event(e)
	}
	a := c.byFlow[flowAt{e.Netns, e.Packet.Flow()}]
	switch {
	case f.State == event.FlowEstablished:
		if a != nil {
			c.served(a, e.Time)
		}
		return nil
	case f.NoPort(e.Packet):
		f.ClientNetns = e.Netns
		e.Body = f
		return c.only.Event(e)
	case f.State == event.FlowFailed && (f.Error == "ECONNREFUSED" || f.SYNs < enoughSYNs && f.Timeouts == 0) && (a == nil || a.icmp == nil):
		if a != nil { // it was answered, or the application did not wait for an answer
			c.remove(a)
		}
		return nil
	}
	if a == nil {
		a = c.begin(e)
		c.know(a, flowAt{e.Netns, e.Packet.Flow()})
	}
	a.reported(e, f)
	if f.State == event.FlowFailed {
		a.due = e.Time.Add(connectGrace)
	}
	return nil
}

// begin takes in an attempt that is new.
func (c *Connects) begin(e event.Event) *attempt {
	a := &attempt{first: e, latest: e.Time, syns: 1, due: e.Time.Add(connectWait)}
	a.entry = c.held.Add(event.OwnerAt(e), a, a.size())
	if !a.entry.Held() {
		a.over = true
		return a
	}
	if len(c.open) > 2*c.held.Len()+evictedSlack { // Flush, which forgets those that are over, waits for the events' clock
		c.open = slices.DeleteFunc(c.open, func(a *attempt) bool { return a.over })
	}
	c.open = append(c.open, a)
	c.portsOf(e.Packet.Src).add(e.Packet.Dport)
	return a
}

// know makes an attempt known by a flow.
func (c *Connects) know(a *attempt, at flowAt) {
	if a.over || c.byFlow[at] == a || len(a.flows) >= maxAttemptFlows {
		return
	}
	a.flows = append(a.flows, at)
	c.byFlow[at] = a
	c.held.Resize(a.entry, a.size())
}

// join makes an attempt known by the journey of one of its packets.
func (c *Connects) join(a *attempt, journey uint64) {
	if journey == 0 || a.over || c.byJourney[journey] == a {
		return
	}
	if len(a.journeys) >= maxAttemptJourneys {
		delete(c.byJourney, a.journeys[0])
		a.journeys = append(a.journeys[:0], a.journeys[1:]...)
	}
	a.journeys = append(a.journeys, journey)
	c.byJourney[journey] = a
}

// remove forgets an attempt.
func (c *Connects) remove(a *attempt) {
	a.over = true
	c.held.Remove(a.entry)
	c.unlink(a)
}

// unlink takes an attempt out of what it is known by, but not a later one that took its place.
func (c *Connects) unlink(a *attempt) {
	for _, at := range a.flows {
		if c.byFlow[at] == a {
			delete(c.byFlow, at)
		}
	}
	for _, j := range a.journeys {
		if c.byJourney[j] == a {
			delete(c.byJourney, j)
		}
	}
}

// forgetNetns forgets the attempts of a namespace that is gone.
func (c *Connects) forgetNetns(inode uint32) {
	for _, a := range c.open {
		if !a.over && a.first.Netns == inode {
			c.remove(a)
		}
	}
	maps.DeleteFunc(c.byFlow, func(at flowAt, _ *attempt) bool { return at.netns == inode })
}

// Flush implements Stage. What is still within its time at the end is not judged.
func (c *Connects) Flush(now time.Time, final bool) []event.Event {
	var judged []event.Event
	open := c.open[:0]
	for _, a := range c.open {
		if !a.over && (!now.Before(a.due) || final && a.ended) {
			if e, ok := c.judge(a, now); ok {
				judged = append(judged, e)
			}
		}
		if !a.over {
			open = append(open, a)
		}
	}
	clear(c.open[len(open):])
	c.open = open
	return judged
}

// judge makes the event of an attempt that had no answer in its time, once; ok is false if there is none.
func (c *Connects) judge(a *attempt, now time.Time) (e event.Event, ok bool) {
	switch waited := now.Sub(a.first.Time); {
	case a.judged, !a.ended && waited > connectForget:
		c.remove(a) // its client gave up, and no record says so
		return e, false
	case a.ended:
		c.remove(a)
	case a.syns < enoughSYNs && waited < loneSYN:
		a.due = now.Add(connectWait)
		return e, false
	case a.syns < enoughSYNs:
		c.remove(a)
		return e, false
	default: // it may be answered yet, and is not new if it is not
		a.judged, a.due = true, a.first.Time.Add(connectForget)
	}
	return c.event(a), true
}

// event is an attempt without an answer.
func (c *Connects) event(a *attempt) event.Event {
	f := a.flow()
	f.OneSided = a.passing()
	if a.captured() {
		_, heard := c.heard.Get(a.first.Packet.Src)
		f.OneSided = !heard
	}
	f.PortsTried = len(c.portsOf(a.first.Packet.Src).tried)
	if at, ok := c.reached.Get(a.clientPort()); ok {
		f.Elsewhere = !at.Before(a.first.Time)
	}
	c.count(f.Asked(), func(s *served) { s.unanswered++ })
	to, _ := c.answered.Get(f.Server)
	asked, _ := c.answered.Get(f.Asked())
	host, _ := c.answered.Get(netip.AddrPortFrom(f.Asked().Addr(), 0))
	f.Answered, f.Unanswered, f.HostAnswered = max(to.answered, asked.answered), asked.unanswered, host.answered
	e := a.first
	e.Pod, e.Peer = e.Ends() // the client's and the server's
	e.ToPod, e.Body = false, f
	return e
}

// served takes in that an attempt is answered.
func (c *Connects) served(a *attempt, now time.Time) {
	server, backend := a.server(), a.backend
	c.count(server, func(s *served) { s.answered++ })
	if backend.IsValid() && backend != server {
		c.count(backend, func(s *served) { s.answered++ })
		c.backends.Put(flowAt{a.first.Netns, a.first.Packet.Flow()}, backend)
	}
	c.reached.Put(a.clientPort(), now)
	if p, ok := c.ports.Get(a.first.Packet.Src); ok {
		p.remove(a.first.Packet.Dport)
	}
	c.remove(a)
}

// count counts a connection to a server, and to its address.
func (c *Connects) count(server netip.AddrPort, as func(*served)) {
	for _, at := range []netip.AddrPort{server, netip.AddrPortFrom(server.Addr(), 0)} {
		s, _ := c.answered.Get(at)
		as(&s)
		c.answered.Put(at, s)
	}
}

// ports are those that one client asked for without an answer, as far as they are kept.
type ports struct{ tried []uint16 }

const maxPortsTried = 16

func (p *ports) add(port uint16) {
	if len(p.tried) < maxPortsTried && !slices.Contains(p.tried, port) {
		p.tried = append(p.tried, port)
	}
}

func (p *ports) remove(port uint16) {
	p.tried = slices.DeleteFunc(p.tried, func(tried uint16) bool { return tried == port })
}

func (c *Connects) portsOf(client netip.Addr) *ports {
	return c.ports.Keep(client, func() *ports { return &ports{} })
}

// Summarize implements event.Summarizer.
func (c *Connects) Summarize(s *event.Summary) {
	s.AddEvicted("connection attempts", c.held.Evicted())
	if c.books != nil {
		s.AddEvicted("connections", c.books.Evicted)
		s.Flows = &event.FlowSummary{Books: c.books}
	}
}
