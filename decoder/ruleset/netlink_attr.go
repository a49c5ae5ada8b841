// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
)

// attrs walks netlink attributes: pairs of type and data, padded to four bytes. It stops at what is cut short.
func attrs(b []byte, each func(kind uint16, data []byte)) {
	for len(b) >= 4 {
		size := int(native.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		each(native.Uint16(b[2:])&0x3fff, b[4:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

// attrSet is attributes by type; a later one of the same type counts. It is an array so that it needs no heap.
type attrSet [12][]byte

func attrMap(b []byte) (m attrSet) {
	attrs(b, func(kind uint16, data []byte) {
		if int(kind) < len(m) {
			m[kind] = data
		}
	})
	return m
}

// be32 and be64 read numbers as nftables sends them; what is missing is zero.
func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
