// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// EtherTypes (IEEE 802).
const (
	EtherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100
	EtherIPv6  = 0x86dd
	etherQinQ  = 0x88a8
	EtherSize  = 14
	VlanSize   = 4
	EtherTypes = 12 // where the type is
)

// NetworkHeader is where the network header of an Ethernet frame begins, and its EtherType, behind any VLAN tags.
func NetworkHeader(frame []byte) (int, uint16) {
	if len(frame) < EtherSize {
		return len(frame), 0
	}
	at, protocol := EtherSize, binary.BigEndian.Uint16(frame[EtherTypes:])
	for (protocol == etherVLAN || protocol == etherQinQ) && len(frame) >= at+VlanSize {
		protocol = binary.BigEndian.Uint16(frame[at+2:])
		at += VlanSize
	}
	return at, protocol
}
