package decoder

import "encoding/binary"

// EtherTypes (IEEE 802).
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100
	etherIPv6  = 0x86dd
	etherQinQ  = 0x88a8
	etherSize  = 14
	vlanSize   = 4
	etherTypes = 12 // where the type is
)

// networkHeader is where the network header of an Ethernet frame begins, and its EtherType, behind any VLAN tags.
func networkHeader(frame []byte) (int, uint16) {
	if len(frame) < etherSize {
		return len(frame), 0
	}
	at, protocol := etherSize, binary.BigEndian.Uint16(frame[etherTypes:])
	for (protocol == etherVLAN || protocol == etherQinQ) && len(frame) >= at+vlanSize {
		protocol = binary.BigEndian.Uint16(frame[at+2:])
		at += vlanSize
	}
	return at, protocol
}
