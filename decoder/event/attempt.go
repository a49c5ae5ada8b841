// SPDX-License-Identifier: Apache-2.0

package event

import "net/netip"

// Attempt is what failed, as far as it can be known whether the same works again: how an exchange begins. Of what fails in
// the middle of one, connections that are made do not show that it works.
type Attempt struct {
	Level    AttemptLevel
	Big      bool           // what small ones do not show
	Backend  netip.AddrPort // that it was translated to, if it was
	Question string         // of a query
	reset    bool           // the server reset the connection over which the query came
}

// AttemptLevel is what shows that an attempt works.
type AttemptLevel uint8

const (
	AttemptNone  AttemptLevel = iota // nothing that is seen
	AttemptOpen                      // it is answered: a SYN is accepted, a datagram or an echo request has an answer
	AttemptQuery                     // a DNS server has an answer to it, and no excuse
)

// BigPacket is the length up to which a packet passes everywhere (RFC 791).
const BigPacket = 576

// attempt is what the event says failed.
func (e Event) attempt() Attempt {
	switch b := e.Body.(type) {
	case DNS:
		return b.attempt()
	case Reset:
		return b.attempt()
	case NAT:
		if b.State == NATStale {
			return Attempt{} // the flow is: others are translated anew, and work all the while
		}
	case Flow:
		if b.TCP != nil {
			return Attempt{} // it was made: that others are shows nothing
		}
		return Attempt{Level: AttemptOpen, Backend: b.Backend}
	case Sock:
		switch b.Op {
		case SockSynLost, SockSynackRetransmit, SockNoRoute, SockBufferFull:
			return Attempt{Level: AttemptOpen}
		}
		return Attempt{}
	}
	p := e.Packet
	if p != nil {
		p = p.Innermost()
	}
	if _, hop := e.Body.(Hop); hop && p != nil && p.IsICMPError() { // the packet that it quotes
		p = p.Quoted()
	}
	if p == nil || p.IsICMPError() || p.Fragment != 0 || !p.BeginsExchange() {
		return Attempt{}
	}
	a := Attempt{Level: AttemptOpen, Big: p.Len > BigPacket}
	if c := e.Conntrack(); c.DNAT() {
		a.Backend = c.Reply.Src
	}
	return a
}

// attempt is the query, if it failed: not if the answer to it is what is wrong.
func (d DNS) attempt() Attempt {
	if d.Outcome == DNSTruncated || d.Served() {
		return Attempt{}
	}
	c := d.Connection
	a := Attempt{Level: AttemptQuery, Question: d.Question(), reset: c != nil && c.By == ByServer && c.How == ConnectionReset}
	if d.Backend != d.Server {
		a.Backend = d.Backend
	}
	return a
}

// Question is what was asked.
func (d DNS) Question() string { return d.Name + " " + d.Type }

// Served reports whether a query has an answer, and no excuse.
func (d DNS) Served() bool {
	return d.Outcome == DNSAnswered && (d.Rcode == "NOERROR" || d.Rcode == "NXDOMAIN")
}

// attempt is the connection, if it was refused from the start.
func (r Reset) attempt() Attempt {
	switch {
	case r.Answer != nil && r.Refused != nil && r.Refused.BeginsExchange(), r.Cause == ResetRefused && r.Answer == nil, r.Cause == ResetOverflow,
		r.Cause == ResetRejected && r.Dropped != nil && r.Dropped.BeginsExchange():
		return Attempt{Level: AttemptOpen, Backend: r.Backend}
	}
	return Attempt{}
}
