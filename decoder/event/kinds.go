// SPDX-License-Identifier: Apache-2.0

package event

import "ktrace/decoder/wire"

// row is how records of a kind are treated.
type row struct {
	kind   Kind                             // of the events that it is decoded to
	decode func(raw []byte, e *Event) error // nil of a kind that this version does not know
	packet bool                             // it is one moment of a packet, of use only beside the others of the packet
}

// rowOf is the table of records: a line for each kind.
func rowOf(k wire.Kind) row {
	switch k {
	case wire.KindFact:
		return row{kind: KindFact, decode: decodeFact}
	case wire.KindHop:
		return row{kind: KindHop, decode: decodeHop, packet: true}
	case wire.KindDrop:
		return row{kind: KindDrop, decode: decodeDrop, packet: true}
	case wire.KindFsync:
		return row{kind: KindFsync, decode: decodeFsync}
	case wire.KindCgroup:
		return row{kind: KindCgroup, decode: decodeCgroup}
	case wire.KindSock:
		return row{kind: KindSock, decode: decodeSock, packet: true}
	case wire.KindPacket:
		return row{kind: KindFrame, decode: decodePacket}
	case wire.KindNetfilter:
		return row{kind: KindNetfilter, decode: decodeNetfilter, packet: true}
	case wire.KindHandshake:
		return row{kind: KindHandshake, decode: decodeHandshake, packet: true}
	case wire.KindNetns:
		return row{kind: KindFact, decode: decodeNetns}
	case wire.KindSegment:
		return row{kind: KindSegment, decode: decodeSocketSegment, packet: true}
	case wire.KindFlow:
		return row{kind: KindFlow, decode: decodeFlow, packet: true}
	}
	return row{}
}

// KindOf is the kind of the events that a raw record is decoded to, "" if this version does not know it.
func KindOf(raw []byte) Kind { return rowOf(kindOf(raw)).kind }

// KindOfRecord is the kind of the events that records of a number are decoded to, "" of a number that this version does not know.
func KindOfRecord(number int) Kind { return rowOf(wire.Kind(number)).kind }
