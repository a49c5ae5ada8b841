// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/reassembly"
)

// connection is one of TCP to a server.
type connection struct {
	names    []flowKey // its flow from the client to the server, as it is before and after translation
	opening  *query    // the connection itself as a query: what becomes of its SYN; nil once it is established
	isn      uint32
	begun    bool         // its SYN was seen
	opener   event.Header // of that, for the process
	backend  netip.AddrPort
	entry    *event.Conntrack // that translates it, where it was seen
	captured bool
	up, down frames    // from the client, from the server
	pending  []*asking // in the order in which they were asked
	closed   time.Time // by the client; it may still read
	served   time.Time // when the last answer came
	over     bool      // reset, or closed by the server
	last     time.Time
	waits    time.Time // since when bytes are missing
}

// asking is a query over TCP, and where in the streams it and its answer are.
type asking struct {
	*query
	begin, end uint32 // of the client's stream
	answerEnd  uint32 // of the server's
	transfer   bool   // of a zone: the answer is many messages
	unsure     bool   // the answer may have been in bytes that are missing
}

const (
	maxPending   = 512             // queries of one connection
	transferRest = time.Second     // without another message: then a transfer is over
	gapGrace     = time.Second     // for bytes that are missing to be sent again
	abandonRest  = 2 * time.Second // a connection that is over is known for late packets
	idleRest     = 5 * time.Minute // servers close idle connections sooner
	restsFor     = time.Second     // a connection without a query: then the server may close it at any time
	onTheWay     = time.Second     // a query may be, when the server closes
)

// askingSize is about what a query takes that waits for its answer, bytes.
const askingSize = 1 << 10

// load is how many bytes the connection keeps.
func (c *connection) load() int {
	return c.up.held() + c.down.held() + len(c.pending)*askingSize
}

// client is who connects.
func (c *connection) client() netip.Addr { return c.names[0].Src.Addr() }

// upward reports whether a flow is from the client.
func (c *connection) upward(f flowKey) bool { return slices.Contains(c.names, f) }

// began takes in the SYN.
func (c *connection) began(e event.Event, isn uint32) {
	c.isn, c.begun, c.opener = isn, true, e.Header
	c.up.segments.Begin(isn + 1)
	c.up.synced = true
}

// accepted takes in the answer to the SYN.
func (c *connection) accepted(isn uint32) {
	if !c.down.segments.Begun() {
		c.down.segments.Begin(isn + 1)
		c.down.synced = true
	}
}

// ask takes in a query.
func (c *connection) ask(f frame, due time.Time) *asking {
	msg, ok := parse(f.data)
	if !ok || msg.response {
		return nil
	}
	e := f.first
	if e.PID == 0 && e.Netns == c.opener.Netns {
		e.PID, e.TID, e.Comm = c.opener.PID, c.opener.TID, c.opener.Comm
	}
	q := &query{first: e, msg: msg, standing: asked, attempts: 1, due: due, captured: c.captured, backend: c.backend}
	a := &asking{query: q, begin: f.begin, end: f.end, transfer: msg.qtype == "AXFR" || msg.qtype == "IXFR"}
	var entry *event.Conntrack
	if e.Packet.Destination() != c.names[0].Dst { // seen behind the translation
		entry = c.entry
	}
	q.seen(event.SightOf(e, entry, nil))
	c.pending = append(c.pending, a)
	return a
}

// answer takes in a message of the server, and returns the query that it is for.
func (c *connection) answer(f frame) *asking {
	msg, ok := parse(f.data)
	if ok && !msg.response {
		return nil
	}
	for _, a := range c.pending {
		if !a.takes(f, msg, ok) {
			continue
		}
		if a.answer == nil {
			msg.truncated = false // whatever the server says: over TCP there is no more to be had
			a.answer, a.answerAt = &msg, f.first.Time
			a.transfer = a.transfer && msg.rcode == "NOERROR" && msg.total > 0
		} else {
			a.answer.total += recordsOf(f.data)
		}
		c.served = f.first.Time
		a.answerSize += uint32(f.size)
		a.answerEnd = f.end
		return a
	}
	return nil
}

// takes reports whether a message of the server, which could be read or not, is an answer to the query, or one more of
// those that a transfer has.
func (a *asking) takes(f frame, msg message, read bool) bool {
	switch {
	case a.answer == nil:
		return read && a.msg.id == msg.id && a.asks(msg)
	case a.transfer && read:
		return a.msg.id == msg.id && a.asks(msg)
	}
	return a.transfer && continues(f.data) && a.msg.id == idOf(f.data)
}

// sighted takes in a segment where it was seen: the end of a query on its way, or that of an answer.
func (c *connection) sighted(here event.Sight, e event.Event, up bool, p reassembly.Piece) {
	covers := func(end uint32) bool {
		return int32(end-p.Seq) > 0 && int32(end-p.Seq) <= int32(len(p.Data)+p.Missing)
	}
	for _, a := range c.pending {
		switch {
		case up && covers(a.end) && e.Time != a.last.Time:
			a.seen(here)
			a.backend = c.backend
		case !up && a.answer != nil && (a.answerLast == nil || covers(a.answerEnd)): // its end may have come early
			a.arrives(here, a.atClient(e))
		}
	}
}

// arrives takes in where the answer is. By whatever name the connection goes there, its client takes it.
func (a *asking) arrives(here event.Sight, atClient bool) {
	a.answered(here, atClient)
	a.delivered, a.answerFrom = a.delivered || atClient, netip.AddrPort{}
}

// ended says of all that waits how the connection ended; it may be seen to at several places.
func (c *connection) ended(end event.DNSConnection, due time.Time) {
	for _, q := range c.waiting() {
		switch {
		case q.ending == nil:
			mine := end
			mine.Reused = !c.served.IsZero() && q.first.Time.Sub(c.served) > restsFor && end.Time.Sub(q.first.Time) < onTheWay
			q.ending, q.due = &mine, due
		case q.ending.How == end.How:
			q.ending.Sight = end.Sight
		}
	}
}

// waiting are the queries without an answer, and the connection itself if it is not established.
func (c *connection) waiting() []*query {
	var all []*query
	if c.opening != nil {
		all = append(all, c.opening)
	}
	for _, a := range c.pending {
		if a.answer == nil {
			all = append(all, a.query)
		}
	}
	return all
}
