// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// halfConn is one direction of a connection at one device.
type halfConn struct {
	flow           packet.FlowTuple
	netns, ifindex uint32
	direction      event.Direction
}

// reverse is the other direction of the connection, at the same device.
func (l halfConn) reverse() halfConn {
	l.flow = l.flow.Reverse()
	switch l.direction {
	case event.In:
		l.direction = event.Out
	case event.Out:
		l.direction = event.In
	}
	return l
}

// stream is the data of one halfConn that is not acknowledged yet.
type stream struct {
	una, next uint32 // first byte that is not acknowledged, and first that is not sent (RFC 9293: SND.UNA, SND.NXT)
	head      head   // the packet that begins at una
	biggest   uint32 // bytes, the largest unacknowledged packet
	acked     uint64 // bytes
	closed    bool   // the receiver's window is zero
	accepted  bool   // the receiver accepted the connection: it acknowledged or sent data
	last      time.Time
}

type head struct {
	size, payload uint32
	sent          time.Time // last
}

// timeout is shorter than TCP's shortest retransmission timeout (200 ms on Linux), and longer than fast retransmission
// takes.
const timeout = 150 * time.Millisecond

// hop takes in a packet of a capture, or an ICMP error to a sender on this node.
func (r *Blackholes) hop(e event.Event) []event.Finding {
	p := e.Packet
	if p == nil {
		return nil
	}
	if mtu, ok := p.TooBig(); ok {
		if about := p.Quoted(); about != nil {
			r.tooBig.Put(directionOf(about.Flow()), tooBigError{mtu, p.Src, e.Time})
		}
		return nil
	}
	if p.HasFlag('S') && p.HasFlag('.') {
		r.synAck(e)
	}
	s, ok := p.Segment()
	if !ok {
		return nil
	}
	at := halfConn{p.Flow(), e.Netns, e.Ifindex, e.Direction}
	if p.HasFlag('.') {
		r.acknowledged(e, at.reverse(), s)
	}
	if p.HasFlag('R') {
		r.streams.Delete(at)
		r.streams.Delete(at.reverse())
		return nil
	}
	return r.sent(e, at, s)
}

// acknowledged takes in an acknowledgement for a stream.
func (r *Blackholes) acknowledged(e event.Event, at halfConn, s packet.Segment) {
	x, _ := r.streams.Get(at)
	if x == nil {
		return
	}
	x.closed = s.Window == 0
	x.accepted = x.accepted || s.Bytes > 0 || s.Sacked > 0 || int32(s.Ack-x.una) > 0
	switch {
	case int32(s.Ack-x.una) > 0 && int32(s.Ack-x.next) <= 0:
		size := x.head.size
		if s.Ack == x.next {
			size, x.biggest = max(size, x.biggest), 0
		}
		x.acked += uint64(s.Ack - x.una)
		x.una, x.head = s.Ack, head{}
		r.acked(e, directionOf(at.flow), size)
	case s.Ack == x.una && s.Sacked > 0 && s.Sacked < x.head.payload:
		if p, ok := r.paths.Get(directionOf(at.flow)); ok {
			p.smallPassed(e.Time, fmt.Sprintf("%d bytes, sent after a segment of %d, were acknowledged and that one was not", s.Sacked, x.head.payload))
		}
	}
}

// acked takes in that a packet of some size was acknowledged.
func (r *Blackholes) acked(e event.Event, d direction, size uint32) {
	p, _ := r.paths.Get(d)
	switch {
	case p == nil || size == 0:
	case size >= p.large:
		p.reset(e.Time)
	default:
		p.smallPassed(e.Time, fmt.Sprintf("packets of up to %d bytes were acknowledged, %s %v", size, e.Packet.Proto, e.Packet.Flow().Reverse()))
	}
}

// sent takes in a packet with data.
func (r *Blackholes) sent(e event.Event, at halfConn, s packet.Segment) []event.Finding {
	x, _ := r.streams.Get(at)
	begins := e.Packet.HasFlag('S')
	if begins || x == nil && s.Bytes > 0 {
		x = &stream{una: s.Seq, next: s.Seq}
		r.streams.Put(at, x)
	}
	if begins { // SYN counts as a byte
		x.una++
		x.next++
	}
	if x == nil || s.Bytes == 0 || int32(s.Seq-x.una) < 0 {
		return nil
	}
	x.last = e.Time
	x.biggest = max(x.biggest, e.Packet.Len)
	if end := s.Seq + s.Bytes; int32(end-x.next) > 0 {
		x.next = end
	}
	if s.Seq != x.una {
		return nil
	}
	first, late := x.head.size == 0, e.Time.Sub(x.head.sent) > timeout
	if first || s.Bytes < x.head.payload { // segments are retransmitted smaller than offload passed them to the device
		x.head.size, x.head.payload = e.Packet.Len, s.Bytes
	}
	if first || late {
		x.head.sent = e.Time
	}
	if first || !late || x.closed || x.head.size <= minPathMTU(e.Packet.Src) {
		return nil
	}
	return r.retransmitted(e, r.path(e), retries{acked: x.acked, size: e.Packet.Len}, x.accepted)
}
