// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/binary"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
)

// link is a link header that ktrace can take off.
type link struct {
	size     int // bytes
	protocol int // offset of the EtherType, -1 if the packet's first byte has the IP version
	kind     int // offset of the packet type of Linux's cooked headers, -1 if there is none
	wide     bool
}

// links are the link types that can be read. Ethernet stays as it is.
func links(l pcapng.LinkType) (link, bool) {
	known := map[pcapng.LinkType]link{
		pcapng.LinkNull:      {size: 4, protocol: -1, kind: -1},
		pcapng.LinkEthernet:  {protocol: -1, kind: -1},
		pcapng.LinkRaw:       {protocol: -1, kind: -1},
		108:                  {size: 4, protocol: -1, kind: -1}, // OpenBSD loopback
		pcapng.LinkLinuxSLL:  {size: 16, protocol: 14, kind: 0, wide: true},
		228:                  {protocol: -1, kind: -1}, // IPv4
		229:                  {protocol: -1, kind: -1}, // IPv6
		pcapng.LinkLinuxSLL2: {size: 20, protocol: 0, kind: 10},
	}
	k, ok := known[l]
	return k, ok
}

// packetOutgoing is PACKET_OUTGOING of linux/if_packet.h.
const packetOutgoing = 4

// strip takes the header off and keeps what it says. It is false for a packet that ends within its header.
func (k link) strip(f *event.RawFrame) bool {
	b := f.Data
	if len(b) <= k.size {
		return false
	}
	f.Data, f.Length = b[k.size:], f.Length-min(f.Length, uint32(k.size))
	if k.protocol >= 0 {
		f.Protocol = binary.BigEndian.Uint16(b[k.protocol:])
	} else if b[k.size]>>4 == 6 {
		f.Protocol = etherIPv6
	} else {
		f.Protocol = etherIPv4
	}
	if k.kind < 0 {
		return true
	}
	f.Type = b[k.kind]
	if k.wide { // 16 bits in the first version of the header
		f.Type = b[k.kind+1]
	}
	f.Direction = event.In
	if f.Type == packetOutgoing {
		f.Direction = event.Out
	}
	return true
}
