// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// hop takes in a packet at a device.
func (c *Connects) hop(e event.Event, h event.Hop) {
	e, ct, in := event.Carried(e, h.Conntrack)
	if h.Captured {
		c.heard.Put(e.Packet.Dst, true)
	}
	switch p := e.Packet; {
	case p.IsICMPError():
		c.icmp(e, p)
	case p.Proto != "tcp" || p.Fragment != 0:
	case p.HasFlag('S') && !p.HasFlag('.'):
		c.syn(e, ct, in)
	case p.HasFlag('S') || p.HasFlag('R') || h.Captured:
		c.answer(e, ct, in)
	}
}

// syn takes in a SYN: of an attempt on its way, sent again, or of a new one.
func (c *Connects) syn(e event.Event, ct *event.Conntrack, in *event.Carrier) {
	a := c.attemptOf(e, ct)
	if a != nil && c.byJourney[e.Journey] != a && a.begins(e) {
		if a.ended || a.judged && e.Time.Sub(a.first.Time) > connectForget {
			c.remove(a) // the port is used again
			a = nil
		} else {
			a.again(e.Time)
		}
	}
	if a == nil {
		a = c.begin(e)
	}
	c.join(a, e.Journey)
	c.know(a, flowAt{e.Netns, e.Packet.Flow()})
	if ct != nil {
		c.know(a, flowAt{e.Netns, ct.Original})
		c.know(a, flowAt{e.Netns, ct.Reply.Reverse()})
	}
	if e.Direction == event.Out && !e.Packet.Dst.IsLoopback() {
		c.know(a, flowAt{anyNetns, e.Packet.Flow()})
	}
	a.seen(event.SightOf(e, ct, in))
	c.resize(a)
}

// anyNetns stands for the namespaces where a packet may arrive that has left another one by a way that is not seen: two nodes
// may share a kernel.
const anyNetns = 0

// attemptOf finds the attempt of a SYN.
func (c *Connects) attemptOf(e event.Event, ct *event.Conntrack) *attempt {
	if a := c.byJourney[e.Journey]; a != nil {
		return a
	}
	if a := c.byFlow[flowAt{e.Netns, e.Packet.Flow()}]; a != nil {
		return a
	}
	if ct != nil {
		if a := c.byFlow[flowAt{e.Netns, ct.Original}]; a != nil {
			return a
		}
	}
	if e.Direction == event.In {
		return c.byFlow[flowAt{anyNetns, e.Packet.Flow()}]
	}
	return nil
}

// answer takes in what the server sends: an answer is whatever comes to the client.
func (c *Connects) answer(e event.Event, ct *event.Conntrack, in *event.Carrier) {
	a := c.byFlow[flowAt{e.Netns, e.Packet.Flow().Reverse()}]
	if a == nil && ct != nil {
		a = c.byFlow[flowAt{e.Netns, ct.Original}]
		if a != nil && e.Packet.Flow() == ct.Original {
			return // the client's own
		}
	}
	if a == nil {
		return
	}
	if a.returns(e) {
		c.served(a, e.Time)
		return
	}
	here := event.SightOf(e, ct, in)
	here.Answer = true
	a.keep(here)
	a.answerLast = &here
	if a.drop != nil && !a.drop.Answer {
		a.drop = nil // another of its SYNs came through
	}
	if due := e.Time.Add(connectAnswer); due.After(a.due) {
		a.due = due
	}
	c.resize(a)
}

// icmp takes in an ICMP error about a SYN.
func (c *Connects) icmp(e event.Event, p *packet.Packet) {
	quoted := p.Quoted().Innermost()
	if quoted == nil || quoted.Proto != "tcp" {
		return
	}
	if a := c.byFlow[flowAt{e.Netns, quoted.Flow()}]; a != nil {
		a.icmp = &event.ICMP{Sight: event.SightOf(e, nil, nil), From: p.Src, Type: p.ICMPType, Code: p.ICMPCode, Name: p.ICMPName()}
	}
}

// drop takes in a packet that the kernel threw away. It may be the first that is seen of an attempt.
func (c *Connects) drop(e event.Event, d event.Drop) {
	inner, ct, in := event.Carried(e, d.Conntrack)
	p := inner.Packet
	if p.Proto != "tcp" || !p.HasFlag('S') {
		return
	}
	here := event.SightOf(inner, ct, in)
	loss := &event.Loss{Sight: here, Reason: d.Reason, Function: d.Location, Event: e}
	if !p.HasFlag('.') {
		a := c.attemptOf(inner, ct)
		if a == nil {
			a = c.begin(inner)
			c.know(a, flowAt{e.Netns, p.Flow()})
		}
		c.join(a, e.Journey)
		if a.answerLast == nil { // else the server, which has answered, drops what is sent again
			a.drop = loss
		}
		return
	}
	if a := c.byFlow[flowAt{e.Netns, p.Flow().Reverse()}]; a != nil {
		loss.Answer = true
		a.drop = loss
	}
}

// resize counts what an attempt takes now.
func (c *Connects) resize(a *attempt) {
	if !a.over {
		c.held.Resize(a.entry, a.size())
	}
}
