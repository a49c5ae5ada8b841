package decoder

import "net/netip"

// attempt is what failed, as far as it can be known whether the same works again: how an exchange begins. Of what fails in
// the middle of one, connections that are made do not show that it works.
type attempt struct {
	level    attemptLevel
	big      bool           // what small ones do not show
	backend  netip.AddrPort // that it was translated to, if it was
	question string         // of a query
	reset    bool           // the server reset the connection over which the query came
}

// attemptLevel is what shows that an attempt works.
type attemptLevel uint8

const (
	attemptNone  attemptLevel = iota // nothing that is seen
	attemptOpen                      // it is answered: a SYN is accepted, a datagram or an echo request has an answer
	attemptQuery                     // a DNS server has an answer to it, and no excuse
)

// bigPacket is the length up to which a packet passes everywhere (RFC 791).
const bigPacket = 576

// attempt is what the event says failed.
func (e Event) attempt() attempt {
	switch b := e.Body.(type) {
	case DNS:
		return b.attempt()
	case Reset:
		return b.attempt()
	case NAT:
		if b.State == NATStale {
			return attempt{} // the flow is: others are translated anew, and work all the while
		}
	case Sock:
		switch b.Op {
		case SockSynLost, SockSynackResent, SockNoRoute, SockBufferFull:
			return attempt{level: attemptOpen}
		}
		return attempt{}
	}
	p := e.Packet
	if p != nil {
		p = p.Innermost()
	}
	if _, told := e.Body.(Hop); told && p != nil && p.IsICMPError() { // what its sender was told of
		p = p.About()
	}
	if p == nil || p.IsICMPError() || p.Fragment != 0 || !p.begins() {
		return attempt{}
	}
	a := attempt{level: attemptOpen, big: p.Len > bigPacket}
	if c := e.conntrack(); c.DNAT() {
		a.backend = c.Reply.Src
	}
	return a
}

// attempt is the query, if it failed: not if the answer to it is what is wrong.
func (d DNS) attempt() attempt {
	if d.Outcome == DNSTruncated || d.served() {
		return attempt{}
	}
	c := d.Connection
	a := attempt{level: attemptQuery, question: d.question(), reset: c != nil && c.By == ByServer && c.How == ConnectionReset}
	if d.Backend != d.Server {
		a.backend = d.Backend
	}
	return a
}

// question is what was asked.
func (d DNS) question() string { return d.Name + " " + d.Type }

// served reports whether a query has an answer, and no excuse.
func (d DNS) served() bool {
	return d.Outcome == DNSAnswered && (d.Rcode == "NOERROR" || d.Rcode == "NXDOMAIN")
}

// attempt is the connection, if it was refused from the start.
func (r Reset) attempt() attempt {
	switch {
	case r.Answer != nil && r.Refused != nil && r.Refused.begins(), r.Cause == ResetRefused && r.Answer == nil, r.Cause == ResetOverflow,
		r.Cause == ResetRejected && r.Dropped != nil && r.Dropped.begins():
		return attempt{level: attemptOpen, backend: r.Backend}
	}
	return attempt{}
}
