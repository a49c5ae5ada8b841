// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import "fmt"

// LinkType says what a packet starts with, as the LINKTYPE_ numbers of pcap files do.
type LinkType int32

const (
	LinkNull      LinkType = 0 // BSD loopback; address family in little-endian order, Linux's numbers
	LinkEthernet  LinkType = 1
	LinkRaw       LinkType = 101 // IPv4 or IPv6
	LinkLoop      LinkType = 108 // OpenBSD loopback; address family in network order
	LinkLinuxSLL  LinkType = 113
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkLinuxSLL2 LinkType = 276
	// LinkNetwork is a packet from its network header on, whose EtherType, VLAN tag and direction are known
	// beside it: what the kernel has where there is no link header. It is in no file.
	LinkNetwork LinkType = -1
)

// layout is how a link type's packets begin.
type layout struct {
	name string
	net  uint32                            // offset of the network header
	typ  uint32                            // offset of the EtherType, where it has one
	is   func(l *lowering, p uint32) *cond // the packet is of EtherType p
}

func layouts(link LinkType) (layout, bool) {
	l, ok := map[LinkType]layout{
		LinkNull:      {"BSD loopback", 4, 0, loopback(0x02000000, 0x0a000000)},
		LinkEthernet:  {"Ethernet", 14, 12, ethernet},
		LinkRaw:       {"packets without link header", 0, 0, rawVersion},
		LinkLoop:      {"OpenBSD loopback", 4, 0, loopback(2, 10)},
		LinkLinuxSLL:  {"Linux cooked v1", 16, 14, cooked},
		LinkIPv4:      {"raw IPv4", 0, 0, only(etherIP)},
		LinkIPv6:      {"raw IPv6", 0, 0, only(etherIP6)},
		LinkLinuxSLL2: {"Linux cooked v2", 20, 0, cooked2},
		LinkNetwork:   {"packets without link header", 0, 0, network},
	}[link]
	return l, ok
}

// String names the link type.
func (t LinkType) String() string {
	if l, ok := layouts(t); ok {
		return l.name
	}
	return fmt.Sprintf("unknown(%d)", int32(t))
}

// ethernet knows 802.3 frames by a length where the EtherType would be.
func ethernet(l *lowering, p uint32) *cond {
	typ := field(l.typ, 2)
	if p > maxLength8023 {
		return test(typ, Equal, p)
	}
	return and(negate(test(typ, Greater, maxLength8023)), l.llc(p))
}

// llc compares the service access points of an 802.2 header: both for the protocols that use one for both.
func (l *lowering) llc(p uint32) *cond {
	if p == sapIP || p == sapISO || p == sapNetBEUI {
		return test(field(l.net, 2), Equal, p<<8|p)
	}
	return test(field(l.net, 1), Equal, p)
}

func cooked(l *lowering, p uint32) *cond { return l.byProtocol(field(l.typ, 2), p) }

// byProtocol compares a protocol as Linux numbers them: 4 for 802.2 frames.
func (l *lowering) byProtocol(v Value, p uint32) *cond {
	const protocol8022 = 4
	if p > maxLength8023 {
		return test(v, Equal, p)
	}
	return and(test(v, Equal, protocol8022), l.llc(p))
}

func cooked2(l *lowering, p uint32) *cond { return test(field(l.typ, 2), Equal, p) }

func rawVersion(_ *lowering, p uint32) *cond {
	switch p {
	case etherIP:
		return test(field(0, 1).masked(0xf0), Equal, 0x40)
	case etherIP6:
		return test(field(0, 1).masked(0xf0), Equal, 0x60)
	}
	return truth(false)
}

func loopback(ip4, ip6 uint32) func(*lowering, uint32) *cond {
	return func(_ *lowering, p uint32) *cond {
		switch p {
		case etherIP:
			return test(field(0, 4), Equal, ip4)
		case etherIP6:
			return test(field(0, 4), Equal, ip6)
		}
		return truth(false)
	}
}

func only(etherType uint32) func(*lowering, uint32) *cond {
	return func(_ *lowering, p uint32) *cond { return truth(p == etherType) }
}

// network has the kernel's protocol number, which is that of a cooked capture.
func network(l *lowering, p uint32) *cond { return l.byProtocol(beside(Protocol), p) }

// etherType is true of packets whose network header is of EtherType p; behind an MPLS label, where nothing
// says so, of those that look like it.
func (l *lowering) etherType(p uint32, col int) *cond {
	if l.labels == 0 {
		switch p {
		case 0x809b, 0x80f3, 0x8137, 0xe0: // AppleTalk and IPX, which come in several wrappings
			l.fail(col, "EtherType %#x is not supported here; compare ether[12:2]", p)
		}
		return l.is(l, p)
	}
	version := map[uint32]uint32{etherIP: 0x40, etherIP6: 0x60}[p]
	if version == 0 {
		l.fail(col, "only ip and ip6 can be recognised behind an MPLS label")
	}
	bottom := test(field(l.net-2, 1).masked(1), Equal, 1)
	return and(bottom, test(field(l.net, 1).masked(0xf0), Equal, version))
}
