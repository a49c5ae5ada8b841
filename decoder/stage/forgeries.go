// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Forgeries is the stage that takes no packet at its word whose headers a program wrote, or that has another pod's address, unless its sender can know what it says:
// who sends in the name of an address has that address, or hears what is sent to it; who reports an error about a packet hears
// what is sent to that packet's destination. All others, and what answers them, go no further: no later stage and no rule learns
// from them. Their drops are no loss, and a reset that a socket took has the name of who sent it. The node's own programs are
// trusted. It comes after pods are named.
type Forgeries struct {
	owners   Owners
	home     uint32
	heard    *bounded.Table[netnsAddr, bool]    // addresses to which a namespace was sent packets that the kernel made
	journeys *bounded.Table[uint64, bool]       // of what programs made, and of what answers it: whether it is forged
	marks    *bounded.Table[mark, bool]         // by which answers to forged packets are known
	senders  *bounded.Table[sentFlow, forgedBy] // of forged packets
	only     event.Single
}

// Owners know whose addresses are, as far as that can be known.
type Owners interface {
	Owns(netns uint32, a netip.Addr, t time.Time) bool           // a namespace has the address, and no pod elsewhere
	OwnedElsewhere(netns uint32, a netip.Addr, t time.Time) bool // a pod in another namespace has it
}

// netnsAddr is an address as seen in a namespace.
type netnsAddr struct {
	netns uint32
	addr  netip.Addr
}

// mark is what an answer repeats of a packet: flow is the packet's own.
type mark struct {
	flow  sentFlow
	field markField
	value uint32
}

// markField says what the value is.
type markField uint8

const (
	markQuote markField = iota // the bytes behind the ports, or ICMP's behind its checksum
	markSeq                    // what acknowledges the segment
	markAck                    // the acknowledgement, with which a reset that answers it begins
	markFlow                   // nothing: an answer has the flow alone
)

// forgedBy is who forged the latest packet of a flow, and when.
type forgedBy struct {
	who string
	at  time.Time
}

const (
	maxHeard   = 1 << 14 // pairs of a namespace and an address
	maxForged  = 1 << 13 // packets
	forgedHold = time.Second
)

// NewForgeries returns the stage.
func NewForgeries(owners Owners) *Forgeries {
	return &Forgeries{
		owners:   owners,
		heard:    bounded.NewTable[netnsAddr, bool](maxHeard),
		journeys: bounded.NewTable[uint64, bool](maxForged),
		marks:    bounded.NewTable[mark, bool](4 * maxForged),
		senders:  bounded.NewTable[sentFlow, forgedBy](maxForged),
	}
}

// Observe implements Stage.
func (x *Forgeries) Observe(e event.Event) []event.Event {
	switch b := e.Body.(type) {
	case event.Fact:
		x.learn(b)
	case event.Hop:
		if e.Packet != nil && !b.Captured && x.forged(e, b) {
			return nil
		}
	case event.Drop:
		if e.Packet != nil {
			e.Body = x.drop(e, b)
		}
	case event.Sock:
		if b.Trigger != nil && x.marks.Len() > 0 && x.answersForged(b) {
			return nil
		}
		if b.Op == event.SockResetReceived || b.Op == event.SockBufferFull {
			b.ForgedBy = x.sender(e)
			e.Body = b
		}
	}
	return x.only.Event(e)
}

// Flush implements Stage.
func (x *Forgeries) Flush(time.Time, bool) []event.Event { return nil }

func (x *Forgeries) learn(f event.Fact) {
	if f.Node != nil {
		x.home = f.Node.Netns
	}
	if inode, ok := f.ReplacedNetns(); ok {
		x.heard.DeleteFunc(func(k netnsAddr) bool { return k.netns == inode })
	}
}

// forged reports whether a packet at a device is to be believed nothing: it is forged, or answers what is.
func (x *Forgeries) forged(e event.Event, h event.Hop) bool {
	if !h.Handmade && x.borrows(e, h) {
		h.Handmade = true
	}
	if !h.Handmade {
		if _, known := x.heard.Get(netnsAddr{e.Netns, e.Packet.Dst}); !known && e.Direction == event.In {
			x.heard.Put(bounded.Owner{Netns: e.Netns}, netnsAddr{e.Netns, e.Packet.Dst}, true, 1)
		}
		return x.follows(e)
	}
	owner := bounded.Owner{Netns: h.SocketNetns}
	forged, known := x.journeys.Get(e.Journey)
	if !known { // later, translation may have changed the addresses
		forged = !x.credible(h.SocketNetns, e)
		x.journeys.Put(owner, e.Journey, forged, 1)
	}
	if forged {
		x.senders.Put(owner, sentFlow{e.Packet.Proto, e.Packet.Flow()}, forgedBy{forger(e), e.Time}, 1)
		x.remember(owner, e.Packet)
	}
	return forged
}

// borrows reports whether a socket sends with the address of another pod: its namespace has given it to itself, or the socket is
// transparent. The node's proxies do so rightly.
func (x *Forgeries) borrows(e event.Event, h event.Hop) bool {
	return e.Direction == event.Out && h.SocketNetns == e.Netns && e.Netns != x.home && x.owners.OwnedElsewhere(e.Netns, e.Packet.Src, e.Time)
}

// credible reports whether who wrote a packet can know what it says.
func (x *Forgeries) credible(netns uint32, e event.Event) bool {
	if netns == 0 || netns == x.home {
		return true
	}
	about := e.Packet.Src
	if quoted := e.Packet.Quoted(); quoted != nil {
		about = quoted.Innermost().Dst
	}
	if about.IsLoopback() || e.Packet.Tunnel != nil { // nothing that is on its way is from there; and tunnels are the kernel's
		return false
	}
	_, heard := x.heard.Get(netnsAddr{netns, about})
	return heard || x.owners.Owns(netns, about, e.Time)
}

// carried is the packet in a tunnel's, nil if it is none.
func carried(p *packet.Packet) *packet.Packet {
	if p.Tunnel == nil {
		return nil
	}
	return p.Tunnel.Packet
}

// remember keeps by what answers to a packet, or errors about it, are known, whatever its addresses are where it is seen.
func (x *Forgeries) remember(owner bounded.Owner, p *packet.Packet) {
	for ; p != nil; p = carried(p) {
		flow := sentFlow{p.Proto, p.Flow()}
		put := func(field markField, value uint32) { x.marks.Put(owner, mark{flow, field, value}, true, 1) }
		put(markFlow, 0)
		if value, ok := quotedWord(p); ok {
			put(markQuote, value)
		}
		if s, ok := p.Segment(); ok {
			put(markSeq, s.Seq+s.Bytes+control(p))
			if p.HasFlag('.') {
				put(markAck, s.Ack)
			}
		}
	}
}

// control is how many sequence numbers the flags of a segment take.
func control(p *packet.Packet) (n uint32) {
	for _, flag := range []byte{'S', 'F'} {
		if p.HasFlag(flag) {
			n++
		}
	}
	return n
}

// quotedWord is what ICMP errors quote of a packet beside its flow: TCP's sequence number, UDP's length and checksum.
func quotedWord(p *packet.Packet) (value uint32, ok bool) {
	const at, size = 4, 4
	h := p.TransportHeader()
	if len(h) < at+size {
		return 0, false
	}
	return binary.BigEndian.Uint32(h[at:]), true
}

// forger says who wrote a packet.
func forger(e event.Event) string {
	from, _ := e.Ends()
	name := fmt.Sprintf("a program in netns %d", e.Body.(event.Hop).SocketNetns)
	if pod := from.String(); pod != "" {
		name = fmt.Sprintf("pod %s (%s)", pod, name)
	}
	return name
}

// follows reports whether a packet that the kernel made answers a forged one.
func (x *Forgeries) follows(e event.Event) bool {
	if x.marks.Len() == 0 {
		return false
	}
	if forged, known := x.journeys.Get(e.Journey); known && e.Journey != 0 {
		return forged
	}
	if !x.answers(e.Packet) {
		return false
	}
	x.journeys.Put(event.OwnerAt(e), e.Journey, true, 1)
	x.remember(event.OwnerAt(e), e.Packet) // it may be answered too
	return true
}

// answers reports whether a packet says which forged one it answers.
func (x *Forgeries) answers(p *packet.Packet) bool {
	if quoted := p.Quoted(); quoted != nil {
		value, ok := quotedWord(quoted)
		return ok && x.has(mark{sentFlow{quoted.Proto, quoted.Flow()}, markQuote, value})
	}
	s, ok := p.Segment()
	if !ok {
		return false
	}
	flow := sentFlow{p.Proto, p.Flow().Reverse()}
	if p.HasFlag('.') {
		return x.has(mark{flow, markSeq, s.Ack})
	}
	return p.HasFlag('R') && x.has(mark{flow, markAck, s.Seq})
}

func (x *Forgeries) has(m mark) bool {
	_, ok := x.marks.Get(m)
	return ok
}

// answersForged reports whether a host without a connection to lose answers a forged packet.
func (x *Forgeries) answersForged(s event.Sock) bool {
	switch s.State {
	case "", "LISTEN", "TIME_WAIT", "NEW_SYN_RECV":
		return x.has(mark{sentFlow{s.Trigger.Proto, s.Trigger.Flow()}, markFlow, 0})
	}
	return false
}

// drop says of a drop that it is no loss, or who else sends packets of its flow.
func (x *Forgeries) drop(e event.Event, d event.Drop) event.Drop {
	if x.lost(e, d) {
		d.Noise = "its headers are forged, or it answers such a packet"
	} else {
		d.ForgedBy = x.sender(e)
	}
	return d
}

// lost reports whether a packet that was dropped is a forged one, or answers one.
func (x *Forgeries) lost(e event.Event, d event.Drop) bool {
	if d.Handmade {
		forged, known := x.journeys.Get(e.Journey)
		return forged || !known && !x.credible(d.SocketNetns, e)
	}
	return x.follows(e)
}

// sender is who forged what came for a socket, "" if none is known.
func (x *Forgeries) sender(e event.Event) string {
	f, ok := x.senders.Get(sentFlow{e.Packet.Proto, e.Packet.Flow()})
	if !ok || e.Time.Sub(f.at).Abs() > forgedHold {
		return ""
	}
	return f.who
}
