// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// AppendAttr appends an attribute, struct rtattr and its value, padded to 4 bytes.
func AppendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

// AppendNested appends an attribute that is made of others.
func AppendNested(b []byte, kind uint16, inner []byte) []byte {
	return AppendAttr(b, kind|unix.NLA_F_NESTED, inner)
}

// AppendUint32 appends an attribute whose value is a number of the machine's byte order.
func AppendUint32(b []byte, kind uint16, n uint32) []byte {
	return AppendAttr(b, kind, binary.NativeEndian.AppendUint32(nil, n))
}

// AppendString appends an attribute whose value is a string, with the zero that ends it.
func AppendString(b []byte, kind uint16, s string) []byte {
	return AppendAttr(b, kind, append([]byte(s), 0))
}

// Attrs yields kind and value of each attribute, without the flags in the kind. One that is cut short ends them.
func Attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min(align(size), len(b)):]
		}
	}
}

// AttrMap returns the attributes by their kinds, the last of each.
func AttrMap(b []byte) map[uint16][]byte {
	m := map[uint16][]byte{}
	for kind, value := range Attrs(b) {
		m[kind] = value
	}
	return m
}

// Uint32 reads a number of the machine's byte order; what is too short is 0.
func Uint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// NetUint16 reads a number of the network's byte order; what is too short is 0.
func NetUint16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// NetUint32 reads a number of the network's byte order; what is too short is 0.
func NetUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}
