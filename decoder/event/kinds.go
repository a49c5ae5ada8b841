// SPDX-License-Identifier: Apache-2.0

package event

import "ktrace/decoder/wire"

// row is how records of a kind are treated.
type row struct {
	decode func(raw []byte, e *Event) error // nil of a kind that this version does not know
	packet bool                             // it is one moment of a packet, of use only beside the others of the packet
}

// rowOf is the table of records: a line for each kind.
func rowOf(k wire.Kind) row {
	switch k {
	case wire.KindFact:
		return row{decode: decodeFact}
	case wire.KindHop:
		return row{decode: decodeHop, packet: true}
	case wire.KindDrop:
		return row{decode: decodeDrop, packet: true}
	case wire.KindFsync:
		return row{decode: decodeFsync}
	case wire.KindCgroup:
		return row{decode: decodeCgroup}
	case wire.KindSock:
		return row{decode: decodeSock, packet: true}
	case wire.KindPacket:
		return row{decode: decodePacket}
	case wire.KindNetfilter:
		return row{decode: decodeNetfilter, packet: true}
	case wire.KindHandshake:
		return row{decode: decodeHandshake, packet: true}
	case wire.KindSegment:
		return row{decode: decodeSocketSegment, packet: true}
	}
	return row{}
}
