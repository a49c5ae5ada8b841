// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// Segment is what the TCP header of a packet says (RFC 9293, 3.1).
type Segment struct {
	Seq    uint32
	Ack    uint32 // valid iff the packet has the flag
	Window uint16 // not scaled
	Bytes  uint32 // of data
	Sacked uint32 // bytes that are acknowledged behind a gap (RFC 2018), 0 if there is none
}

// Offsets in the TCP header, and the kinds of its options that matter here.
const (
	tcpSeqAt, tcpAckAt, tcpWindowAt   = 4, 8, 14
	optionEnd, optionNone, optionSACK = 0, 1, 5
	sackBlock                         = 8 // bytes
)

// Segment reads the header; ok is false if the packet is no TCP or its header was not taken.
func (p *Packet) Segment() (s Segment, ok bool) {
	h := p.TransportHeader()
	if p.Proto != "tcp" || p.Fragment != 0 || len(h) < tcpMin || p.DataAt < p.TransportAt+tcpMin {
		return s, false
	}
	s.Seq, s.Ack = binary.BigEndian.Uint32(h[tcpSeqAt:]), binary.BigEndian.Uint32(h[tcpAckAt:])
	s.Window = binary.BigEndian.Uint16(h[tcpWindowAt:])
	s.Bytes = p.Len - min(p.Len, uint32(p.DataAt))
	s.Sacked = sacked(h[tcpMin:min(len(h), int(p.DataAt-p.TransportAt))], s.Ack)
	return s, true
}

// sacked sums up the blocks that lie behind what is acknowledged; one before it is data that came twice (D-SACK, RFC 2883).
func sacked(options []byte, ack uint32) uint32 {
	var sum uint32
	for len(options) > 0 && options[0] != optionEnd {
		if options[0] == optionNone {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			break
		}
		body := options[2:options[1]]
		for options[0] == optionSACK && len(body) >= sackBlock {
			left, right := binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
			if int32(left-ack) > 0 && int32(right-left) > 0 {
				sum += right - left
			}
			body = body[sackBlock:]
		}
		options = options[options[1]:]
	}
	return sum
}
