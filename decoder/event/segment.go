// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"

	"ktrace/decoder/wire"
)

// KindSegment is a TCP segment at a socket.
const KindSegment Kind = "segment"

// SocketSegment is a TCP segment with data, or with the end of a direction, as a socket of this node sent or received it.
// The event's packet has the addresses that the socket knows, so where the socket's own namespace translates, other ones
// than the packet on its way.
type SocketSegment struct {
	Data uint32 `json:"data"` // bytes that the segment carries
	// Translated is where the packet went instead of to the address that the socket knows; zero if it was that.
	Translated netip.AddrPort `json:"translated,omitzero"`
}

// Kind implements Body.
func (SocketSegment) Kind() Kind { return KindSegment }

// Summary implements Body.
func (s SocketSegment) Summary() string { return fmt.Sprintf("%d bytes of a connection", s.Data) }

func decodeSocketSegment(raw []byte, e *Event) error {
	var r wire.Dns
	r.Decode(raw)
	if err := takePacket(e, raw, r.RecordSize(), r.Taken, r.Len); err != nil {
		return err
	}
	body := SocketSegment{Data: e.Packet.Payload()}
	ends := tupleFlow(&r.Socket)
	switch wire.SegmentDirection(r.Direction) {
	case wire.SegmentIn:
		e.Direction, ends = In, ends.Reverse()
	case wire.SegmentOut:
		e.Direction = Out
		if at := e.Packet.Destination(); at != ends.Dst {
			body.Translated = at
		}
	}
	e.Packet.Src, e.Packet.Sport = ends.Src.Addr(), ends.Src.Port()
	e.Packet.Dst, e.Packet.Dport = ends.Dst.Addr(), ends.Dst.Port()
	e.Body = body
	return nil
}
