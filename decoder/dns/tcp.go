// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/reassembly"
)

// connections are those of TCP to servers: their queries become the same events as those over UDP, and so do connections
// that come to nothing. It takes segments with data from sockets, or whole ones of a capture; how a connection begins
// and is reset, from devices.
type connections struct {
	s       *Stage
	byName  map[flowKey]*connection
	list    []*connection // in the order in which they began
	sent    bounded.Map[sentKey, sentBy]
	cut     bounded.Map[ends, cutAnswer]
	spanned int // bytes that all keep
}

// flowKey is a flow; addresses of the loopback device are each namespace's own.
type flowKey struct {
	packet.FlowTuple
	netns uint32
}

func keyOf(e event.Event, f packet.FlowTuple) flowKey {
	if f.Src.Addr().IsLoopback() {
		return flowKey{f, e.Netns}
	}
	return flowKey{f, 0}
}

func (k flowKey) reverse() flowKey { return flowKey{k.Reverse(), k.netns} }

// sentKey is what no translation changes of a client's segment. By it a connection is known that has other addresses
// elsewhere, where nothing else shows the translation.
type sentKey struct {
	seq  uint32
	syn  bool
	head [headerSize]byte
}

type sentBy struct {
	c     *connection
	at    time.Time
	place place
}

// place is where a packet is seen.
type place struct {
	netns, ifindex uint32
	way            event.Direction
}

func placeOf(e event.Event) place { return place{e.Netns, e.Ifindex, e.Direction} }

// ends are a client and the server that it asks.
type ends struct {
	client netip.Addr
	server netip.AddrPort
}

// cutAnswer is an answer over UDP that did not fit: its client is to ask again over TCP.
type cutAnswer struct {
	name, qtype string
	at          time.Time
}

const (
	sentWithin  = 2 * time.Second // a segment is on its way
	retryWithin = 2 * time.Second // for a client, to ask again over TCP
	maxNames    = 8               // of a connection
)

func newConnections(s *Stage) connections {
	return connections{s: s, byName: map[flowKey]*connection{}}
}

// packet takes in a packet of TCP: at a device, or at a socket.
func (x *connections) packet(e event.Event, ct *event.Conntrack, in *event.Carrier) []event.Event {
	if ct == nil && len(x.byName) == 0 && !x.serves(e.Packet.Source()) && !x.serves(e.Packet.Destination()) {
		return nil // as most of what a capture has
	}
	seg, whole := e.Packet.Segment() // live, bytes are taken at the first device only
	var c *connection
	if whole {
		c = x.find(e, ct, seg)
	} else if c = x.known(e, ct); c != nil {
		x.translated(c, e, ct)
	}
	if c == nil {
		return nil
	}
	c.last = e.Time
	here, up, p := event.SightOf(e, ct, in), c.upward(keyOf(e, e.Packet.Flow())), e.Packet
	switch {
	case p.HasFlag('R'):
		c.reset(here, up)
		return nil
	case p.HasFlag('S') && up:
		x.opens(c, e, here)
	case p.HasFlag('S'):
		c.accepts(e, here, seg, whole)
	default:
		c.opening = nil
	}
	finished := x.data(c, e, here, up)
	if p.HasFlag('F') {
		finished = append(finished, x.closes(c, e, here, up)...)
	}
	return finished
}

// find returns the connection of a packet, a new one if it begins one or shows one to a server; nil if it is none.
func (x *connections) find(e event.Event, ct *event.Conntrack, seg packet.Segment) *connection {
	k := keyOf(e, e.Packet.Flow())
	c := x.known(e, ct)
	begins := e.Packet.HasFlag('S') && !e.Packet.HasFlag('.')
	if c != nil && begins && c.begun && c.isn != seg.Seq {
		x.unname(c) // its addresses and ports serve another one now
		c = nil
	}
	if c == nil && (begins || hasData(e)) {
		if c = x.elsewhere(e, seg, k); c == nil {
			c = x.begin(e, ct, k)
		}
	}
	if c != nil {
		x.translated(c, e, ct)
	}
	return c
}

// known finds a connection by the packet's flow as it is, or as it was before it was translated.
func (x *connections) known(e event.Event, ct *event.Conntrack) *connection {
	if len(x.byName) == 0 {
		return nil
	}
	k := keyOf(e, e.Packet.Flow())
	if c := x.byName[k]; c != nil {
		return c
	}
	if c := x.byName[k.reverse()]; c != nil || ct == nil {
		return c
	}
	return x.byName[keyOf(e, ct.Original)]
}

// elsewhere finds a connection by a segment of its client that was seen with other addresses.
func (x *connections) elsewhere(e event.Event, seg packet.Segment, k flowKey) *connection {
	if len(x.byName) == 0 {
		return nil
	}
	by, ok := x.sent.Get(sentOf(e.Packet, seg.Seq))
	if !ok || by.c.names == nil || e.Time.Sub(by.at) > sentWithin || by.place == placeOf(e) {
		return nil
	}
	first := by.c.names[0]
	if k.Src.Port() != first.Src.Port() && k.Dst != first.Dst { // a translation of both that keeps neither is rare
		return nil
	}
	x.name(by.c, k)
	if k.Dst != first.Dst {
		by.c.backend = k.Dst
	}
	return by.c
}

// remember takes in a segment of the client, where it was first seen.
func (x *connections) remember(c *connection, e event.Event) {
	seg, _ := e.Packet.Segment()
	k := sentOf(e.Packet, seg.Seq)
	if by, ok := x.sent.Get(k); !ok || by.c != c {
		x.sent.Put(k, sentBy{c, e.Time, placeOf(e)})
	}
}

func sentOf(p *packet.Packet, seq uint32) sentKey {
	k := sentKey{seq: seq, syn: p.HasFlag('S')}
	copy(k.head[:], p.Transport())
	return k
}

// begin makes a connection of a packet that goes to or comes from a server's port.
func (x *connections) begin(e event.Event, ct *event.Conntrack, k flowKey) *connection {
	switch asks := x.serves(k.Dst) || ct != nil && x.serves(ct.Original.Dst) && upward(ct, k.FlowTuple); {
	case asks && !(x.serves(k.Src) && isAnswer(e.Packet)):
	case x.serves(k.Src):
		k = k.reverse()
	default:
		return nil
	}
	if ct != nil {
		k = keyOf(e, ct.Original)
	}
	c := &connection{captured: captured(e), last: e.Time}
	if c.captured {
		x.s.clients.Put(k.Src.Addr(), true)
	}
	x.list = append(x.list, c)
	x.name(c, k)
	x.bound(c)
	return c
}

// serves reports whether a port is one that servers are asked at.
func (x *connections) serves(a netip.AddrPort) bool { return slices.Contains(x.s.o.Ports, a.Port()) }

// isAnswer reports whether a segment begins with a message of a server.
func isAnswer(p *packet.Packet) bool {
	data := p.Transport()
	return len(data) > lengthSize+2 && data[lengthSize+2]&0x80 != 0
}

// hasData reports whether the event has data of the connection: of what passes devices live, only headers are known.
func hasData(e event.Event) bool {
	_, socket := e.Body.(event.SocketSegment)
	return (socket || captured(e)) && e.Packet.Payload() > 0
}

// upward reports whether a flow has the direction of the packet that made a conntrack entry.
func upward(ct *event.Conntrack, f packet.FlowTuple) bool {
	return f.Src == ct.Original.Src || f.Dst == ct.Reply.Src || f == ct.Original
}

// name makes a connection known by a flow from the client to the server.
func (x *connections) name(c *connection, k flowKey) {
	if slices.Contains(c.names, k) || len(c.names) >= maxNames {
		return
	}
	c.names = append(c.names, k)
	x.byName[k] = c
}

// translated takes in what is known of the names that a connection has at the packet's place.
func (x *connections) translated(c *connection, e event.Event, ct *event.Conntrack) {
	if b, ok := e.Body.(event.SocketSegment); ok && b.Translated.IsValid() {
		c.backend = b.Translated
		x.name(c, keyOf(e, packet.FlowTuple{Src: e.Packet.Source(), Dst: b.Translated}))
	}
	if ct == nil {
		return
	}
	f := e.Packet.Flow()
	if !upward(ct, f) {
		f = f.Reverse()
	}
	for _, f := range []packet.FlowTuple{ct.Original, ct.Reply.Reverse(), f} {
		x.name(c, keyOf(e, f))
	}
	if ct.DNAT() {
		c.backend, c.entry = ct.Reply.Src, ct
	}
}

// opens takes in a SYN, at one of the places that it passes.
func (x *connections) opens(c *connection, e event.Event, here event.Sight) {
	if seg, whole := e.Packet.Segment(); whole {
		x.remember(c, e)
		if !c.begun {
			c.began(e, seg.Seq)
			x.open(c, e)
		}
	}
	if c.opening == nil {
		return
	}
	if len(c.opening.hops) > 0 && c.opening.begins(e) {
		c.opening.repeated = true
	}
	c.opening.seen(here)
}

// open makes the connection itself a query, for as long as it is not established. Of what is to be asked the name is
// known if an answer did not fit into a datagram.
func (x *connections) open(c *connection, e event.Event) {
	q := &query{first: e, standing: asked, unsent: true, attempts: 1, due: x.due(c, e.Time), captured: c.captured}
	if cut, ok := x.cutFor(c, e.Time); ok {
		q.msg.name, q.msg.qtype, q.retry = cut.name, cut.qtype, true
	}
	c.opening = q
}

// due is when a query of the connection is judged.
func (x *connections) due(c *connection, asked time.Time) time.Time {
	due := asked.Add(x.s.o.Wait)
	if c.captured {
		due = due.Add(retryGrace)
	}
	return due
}

// truncated takes in an answer over UDP that did not fit.
func (x *connections) truncated(q *query) {
	x.cut.Put(ends{q.first.Packet.Src, q.server()}, cutAnswer{q.msg.name, q.msg.qtype, q.answerAt})
}

func (x *connections) cutFor(c *connection, now time.Time) (cutAnswer, bool) {
	cut, ok := x.cut.Get(ends{c.client(), c.names[0].Dst})
	return cut, ok && now.Sub(cut.at) <= retryWithin
}

// data takes in what a segment carries.
func (x *connections) data(c *connection, e event.Event, here event.Sight, up bool) []event.Event {
	seg, ok := e.Packet.Segment()
	if !ok || !hasData(e) {
		return nil
	}
	p := reassembly.Piece{Seq: seg.Seq, Data: e.Packet.Transport()}
	if e.Packet.HasFlag('S') {
		p.Seq++
	}
	p.Data = p.Data[:min(len(p.Data), int(e.Packet.Payload()))]
	p.Missing = int(e.Packet.Payload()) - len(p.Data)
	if up {
		x.remember(c, e)
	}
	before := c.load()
	way := &c.down
	if up {
		way = &c.up
	}
	done, lost := way.add(e, p)
	x.messages(c, up, done, lost)
	x.spanned += c.load() - before
	c.sighted(here, e, up, p)
	if c.up.segments.Waits() || c.down.segments.Waits() {
		if c.waits.IsZero() {
			c.waits = e.Time
		}
	} else {
		c.waits = time.Time{}
	}
	x.bound(c)
	return x.delivered(c, e.Time)
}

// messages takes in what is whole now.
func (x *connections) messages(c *connection, up bool, done []frame, lost bool) {
	for _, f := range done {
		switch {
		case !up:
			if a := c.answer(f); a != nil {
				x.s.servers.Put(c.names[0].Dst, true)
			}
		case len(c.pending) >= maxPending:
			x.s.total.unseen++
		default:
			x.ask(c, f)
		}
	}
	if !lost || up {
		return
	}
	for _, a := range c.pending {
		a.unsure = a.unsure || a.answer == nil
	}
}

func (x *connections) ask(c *connection, f frame) {
	a := c.ask(f, x.due(c, f.first.Time))
	if a == nil {
		return
	}
	cut, ok := x.cutFor(c, f.first.Time)
	a.retry = ok && cut.name == a.msg.name && cut.qtype == a.msg.qtype
}

// delivered finishes the queries whose answer the client has; others have a while until it is seen there.
func (x *connections) delivered(c *connection, now time.Time) (finished []event.Event) {
	for _, a := range slices.Clone(c.pending) {
		switch {
		case a.answer == nil:
		case a.transfer:
			a.due = now.Add(transferRest)
		case a.delivered:
			finished = append(finished, x.finish(c, a)...)
		default:
			a.due = a.answerLast.Time.Add(deliveryGrace)
		}
	}
	return finished
}

// finish judges a query of a connection, unless its answer may have been missed.
func (x *connections) finish(c *connection, a *asking) []event.Event {
	c.pending = slices.DeleteFunc(c.pending, func(b *asking) bool { return a == b })
	x.spanned -= askingSize
	if a.unsure && a.answer == nil {
		a.closed = true
		x.s.total.unseen++
		return nil
	}
	if a.ending == nil && !c.closed.IsZero() && a.answer == nil {
		a.ending = &event.DNSConnection{Sight: *a.last, How: event.ConnectionClosed, By: event.ByClient}
		a.ending.Time = c.closed
	}
	return x.s.finish(a.query)
}

// idOf and recordsOf read the header of a message: its id, and how many answers it has.
func idOf(message []byte) uint16   { return binary.BigEndian.Uint16(message) }
func recordsOf(message []byte) int { return int(binary.BigEndian.Uint16(message[6:])) }
