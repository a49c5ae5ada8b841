// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"encoding/binary"
	"math/bits"
)

// Order is the byte order of a section; the zero value is little-endian.
type Order uint8

// The two byte orders that a section can have.
const (
	LittleEndian Order = iota
	BigEndian
)

// The methods below reverse after a little-endian load instead of calling through
// binary.ByteOrder: they inline, which is worth a third of the time of reading a small packet.

func (o Order) uint16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if o == BigEndian {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (o Order) uint32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if o == BigEndian {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func (o Order) uint64(b []byte) uint64 {
	v := binary.LittleEndian.Uint64(b)
	if o == BigEndian {
		v = bits.ReverseBytes64(v)
	}
	return v
}

// uint32Pair reads a 64-bit number that the format stores as two 32-bit words, the upper one first
// in either byte order: every time stamp.
func (o Order) uint32Pair(b []byte) uint64 {
	return uint64(o.uint32(b))<<32 | uint64(o.uint32(b[4:]))
}

func (o Order) append16(b []byte, v uint16) []byte {
	if o == BigEndian {
		v = bits.ReverseBytes16(v)
	}
	return binary.LittleEndian.AppendUint16(b, v)
}

func (o Order) append32(b []byte, v uint32) []byte {
	if o == BigEndian {
		v = bits.ReverseBytes32(v)
	}
	return binary.LittleEndian.AppendUint32(b, v)
}

func (o Order) append64(b []byte, v uint64) []byte {
	if o == BigEndian {
		v = bits.ReverseBytes64(v)
	}
	return binary.LittleEndian.AppendUint64(b, v)
}

func (o Order) append32Pair(b []byte, v uint64) []byte {
	return o.append32(o.append32(b, uint32(v>>32)), uint32(v))
}

func (o Order) put16(b []byte, v uint16) {
	if o == BigEndian {
		v = bits.ReverseBytes16(v)
	}
	binary.LittleEndian.PutUint16(b, v)
}

func (o Order) put32(b []byte, v uint32) {
	if o == BigEndian {
		v = bits.ReverseBytes32(v)
	}
	binary.LittleEndian.PutUint32(b, v)
}

// align is n rounded up to the 32 bits on which everything in the format starts.
func align(n int) int { return (n + 3) &^ 3 }

// pad appends zeroes until b is as long as align wants it, counted from start.
func pad(b []byte, start int) []byte {
	for (len(b)-start)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
