// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"time"

	"ktrace/decoder/wire"
)

// kindOf is the kind of a raw record, 0 if the record ends within its header.
func kindOf(raw []byte) wire.Kind {
	if len(raw) < hdrSize {
		return 0
	}
	return wire.Kind(binary.LittleEndian.Uint16(raw[4:]))
}

// IsPacket reports whether a raw record is a captured packet, which DecodeFrame reads.
func IsPacket(raw []byte) bool { return kindOf(raw) == wire.KindPacket }

// IsFact reports whether a raw record is a fact about the node.
func IsFact(raw []byte) bool { return kindOf(raw) == wire.KindFact || kindOf(raw) == wire.KindNetns }

// OfPacket reports whether a raw record is one moment of a packet, which is of use only beside the others of the packet.
func OfPacket(raw []byte) bool { return rowOf(kindOf(raw)).packet }

// RecordTime is when a raw record was made, since boot; 0 if the record ends within its header.
func RecordTime(raw []byte) time.Duration {
	if len(raw) < hdrSize {
		return 0
	}
	return time.Duration(binary.LittleEndian.Uint64(raw[8:]))
}

// CutRecord returns the first of several raw records, and what follows it; nothing if the size of the first is not plausible.
func CutRecord(raw []byte) (first, rest []byte) {
	if len(raw) < hdrSize {
		return raw, nil
	}
	size := binary.LittleEndian.Uint32(raw)
	if size < uint32(hdrSize) || uint64(size) > uint64(len(raw)) {
		return raw, nil
	}
	return raw[:size:size], raw[size:]
}
