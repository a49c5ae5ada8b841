// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// KindHandshake is a part of how a TLS connection begins.
const KindHandshake Kind = "handshake"

// Handshake is a segment of the beginning of a TLS connection, as a socket of this node sent or received it. The event's
// packet has of its data what is in the clear, from the first byte on; from the first that is encrypted nothing follows.
type Handshake struct {
	Data uint32 `json:"data"` // bytes that the segment carries
}

// Kind implements Body.
func (Handshake) Kind() Kind { return KindHandshake }

// Summary implements Body.
func (h Handshake) Summary() string { return fmt.Sprintf("%d bytes of a TLS handshake", h.Data) }

func decodeHandshake(raw []byte, e *Event) error {
	var r wire.Tls
	r.Decode(raw)
	if err := takePacket(e, raw, r.RecordSize(), r.Taken, r.Len); err != nil {
		return err
	}
	switch wire.TlsDirection(r.Direction) {
	case wire.TlsIn:
		e.Direction = In
	case wire.TlsOut:
		e.Direction = Out
	}
	e.Body = Handshake{Data: e.Packet.Payload()}
	return nil
}

// takePacket reads the headers of the packet that follows a record of size bytes: taken bytes of it, of length.
func takePacket(e *Event, raw []byte, size int, taken, length uint32) error {
	if uint64(size)+uint64(taken) > uint64(len(raw)) {
		return fmt.Errorf("%w: packet of %d bytes in a record of %d", ErrShort, taken, len(raw))
	}
	e.Packet = packet.Parse(append([]byte(nil), raw[size:size+int(taken)]...), length)
	if e.Packet == nil {
		return fmt.Errorf("%w: no packet in it", ErrShort)
	}
	return nil
}
