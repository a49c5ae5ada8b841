// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Compile makes a program for packets of a link type. Errors are of type *Error: the expression asks for
// something that such packets do not have.
func (e *Expr) Compile(link LinkType) (*Program, error) {
	lay, ok := layouts(link)
	if !ok {
		return nil, &Error{Expr: e.text, Column: 1, Msg: fmt.Sprintf("link type %d is not supported", link)}
	}
	l := &lowering{expr: e.text, link: link, layout: lay}
	c := l.node(e.root)
	if l.err != nil {
		return nil, l.err
	}
	p, ok := newProgram(link, c)
	if !ok {
		return nil, &Error{Expr: e.text, Column: 1, Msg: fmt.Sprintf("expression is too complex: more than %d comparisons", maxBlocks)}
	}
	p.VLAN = l.tags > 0
	return p, nil
}

// NeedsLink says where an expression asks for what packets do not have from their network header on: addresses and
// fields of the link, and tags. It is nil if it does not.
func (e *Expr) NeedsLink() error {
	_, err := e.Compile(LinkNetwork)
	if err == nil {
		_, err = e.Compile(LinkRaw) // has no tag beside either
	}
	return err
}

// lowering makes conditions of nodes, in the order in which they are written: vlan and mpls move the
// headers for all that follows.
type lowering struct {
	expr string
	link LinkType
	layout
	labels int // MPLS labels passed
	tags   int // VLAN tags passed
	err    *Error
}

func (l *lowering) fail(col int, format string, args ...any) *cond {
	if l.err == nil {
		l.err = &Error{Expr: l.expr, Column: col, Msg: fmt.Sprintf(format, args...)}
	}
	return truth(false)
}

func (l *lowering) node(n node) *cond {
	switch n := n.(type) {
	case logic:
		left := l.node(n.left)
		right := l.node(n.right)
		if n.and {
			return and(left, right)
		}
		return or(left, right)
	case not:
		return negate(l.node(n.of))
	case isProto:
		return l.isProto(n.proto, n.col)
	case qualified:
		return l.qualified(n)
	case keyword:
		return l.keyword(n)
	case relation:
		return l.relation(n)
	}
	return truth(true)
}

func (l *lowering) ip4(col int) *cond { return l.etherType(etherIP, col) }
func (l *lowering) ip6(col int) *cond { return l.etherType(etherIP6, col) }

// isProto is a protocol alone.
func (l *lowering) isProto(p proto, col int) *cond {
	pr := protocols[p]
	if pr.etherType != 0 {
		return l.etherType(pr.etherType, col)
	}
	return l.ipProto(pr.number, pr.ip4, pr.ip6, col)
}

// ipProto is true of packets whose protocol over IP is number. In IPv6 it may follow a fragment header.
func (l *lowering) ipProto(number uint32, ip4, ip6 bool, col int) *cond {
	next := field(l.net+6, 1)
	behindFragment := and(test(next, Equal, protoFragment), test(field(l.net+40, 1), Equal, number))
	switch {
	case !ip6:
		return and(l.ip4(col), test(field(l.net+9, 1), Equal, number))
	case !ip4:
		return and(l.ip6(col), or(test(next, Equal, number), behindFragment))
	}
	return or(l.ipProto(number, true, false, col), l.ipProto(number, false, true, col))
}

func (l *lowering) qualified(n qualified) *cond {
	switch n.typ {
	case "port":
		return l.port(n)
	case "portrange":
		return l.portRange(n)
	case "proto":
		return l.proto(n)
	}
	switch n.id.kind {
	case kindMAC:
		return l.mac(n)
	case kindIP6:
		return l.host6(n)
	case kindName:
		return l.fail(n.id.col, "%s is a name: names of hosts and networks are not looked up, write the address", n.id.describe())
	}
	return l.host4(n)
}

// either joins what is true of a source and of a destination as the direction says.
func either(d direction, src, dst *cond) *cond {
	switch d {
	case dirSrc:
		return src
	case dirDst:
		return dst
	case dirBoth:
		return and(src, dst)
	}
	return or(src, dst)
}

func (l *lowering) mac(n qualified) *cond {
	if n.proto != protoLink || n.typ == "net" {
		return l.fail(n.id.col, "a MAC address needs \"ether\", as in ether host %s", n.id.text)
	}
	if l.link != LinkEthernet {
		return l.fail(n.id.col, "%s have no MAC addresses", l.name)
	}
	addr, _ := parseMAC(n.id.text)
	at := func(off uint32) *cond {
		low := test(field(off+2, 4), Equal, binary.BigEndian.Uint32(addr[2:]))
		return and(low, test(field(off, 2), Equal, uint32(binary.BigEndian.Uint16(addr[:2]))))
	}
	return either(n.dir, at(6), at(0))
}

// host4 is an IPv4 host or network, in IPv4, ARP and RARP.
func (l *lowering) host4(n qualified) *cond {
	addr, mask := l.network4(n)
	in := func(p proto, src, dst uint32) *cond {
		at := func(off uint32) *cond {
			return and(l.etherType(protocols[p].etherType, n.col), test(field(l.net+off, 4).masked(mask), Equal, addr))
		}
		return either(n.dir, at(src), at(dst))
	}
	switch n.proto {
	case protoIP:
		return in(protoIP, 12, 16)
	case protoARP, protoRARP:
		return in(n.proto, 14, 24)
	case protoLink:
		return l.fail(n.id.col, "expected a MAC address after \"ether\", found %s", n.id.describe())
	case protoAny:
		if l.labels > 0 {
			return in(protoIP, 12, 16)
		}
		return or(or(in(protoIP, 12, 16), in(protoARP, 14, 24)), in(protoRARP, 14, 24))
	}
	return l.fail(n.col, "%q cannot qualify an IPv4 address; ip, arp and rarp can", protocols[n.proto].name)
}

// network4 reads the address and mask of an id: dotted, with fewer parts for a whole network, or a number.
func (l *lowering) network4(n qualified) (addr, mask uint32) {
	mask = 0xffffffff
	if n.id.kind == kindNumber {
		addr = n.id.num
		for n.typ == "net" && addr != 0 && addr&0xff000000 == 0 {
			addr, mask = addr<<8, mask<<8
		}
		return addr, mask
	}
	addr, mask = l.dotted(n.id)
	if n.bits.kind == kindEnd && n.mask.kind == kindEnd {
		return addr, mask
	}
	if n.typ != "net" {
		l.fail(n.id.col, "only a network has a mask: write net %s", n.id.text)
	}
	if n.mask.kind != kindEnd {
		mask, _ = l.dotted(n.mask)
	} else {
		if n.bits.num > 32 {
			l.fail(n.bits.col, "prefix length %d is larger than 32", n.bits.num)
		}
		mask = uint32(uint64(0xffffffff) << (32 - min(n.bits.num, 32)))
	}
	if addr&^mask != 0 {
		l.fail(n.id.col, "%s has bits set outside the mask", n.id.text)
	}
	return addr, mask
}

// dotted reads one to four numbers as the high bytes of an address; the mask covers those that are there.
func (l *lowering) dotted(t token) (addr, mask uint32) {
	parts := strings.Split(t.text, ".")
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			l.fail(t.col, "%s is no IPv4 address: %q is no number from 0 to 255", t.text, part)
		}
		addr |= uint32(n) << (24 - 8*i)
		mask |= 0xff << (24 - 8*i)
	}
	return addr, mask
}

// host6 is an IPv6 host or network.
func (l *lowering) host6(n qualified) *cond {
	if n.proto != protoAny && n.proto != protoIP6 {
		return l.fail(n.col, "%q cannot qualify an IPv6 address; ip6 can", protocols[n.proto].name)
	}
	bits := uint32(128)
	if n.bits.kind != kindEnd {
		bits = n.bits.num
	}
	addr := netip.MustParseAddr(n.id.text).As16()
	switch {
	case bits > 128:
		return l.fail(n.bits.col, "prefix length %d is larger than 128", bits)
	case n.typ != "net" && bits != 128:
		return l.fail(n.id.col, "only a network has a prefix length: write net %s/%d", n.id.text, bits)
	case netip.PrefixFrom(netip.AddrFrom16(addr), int(bits)).Masked().Addr() != netip.AddrFrom16(addr):
		return l.fail(n.id.col, "%s has bits set outside the prefix", n.id.text)
	}
	at := func(off uint32) *cond {
		c := l.ip6(n.col)
		for i := uint32(0); i < 4; i++ {
			mask := uint32(uint64(0xffffffff) << (32 - min(32, max(bits, 32*i)-32*i)))
			word := binary.BigEndian.Uint32(addr[4*i:])
			c = and(c, test(field(l.net+off+4*i, 4).masked(mask), Equal, word))
		}
		return c
	}
	return either(n.dir, at(8), at(24))
}

// proto is an id after ether proto, ip proto, ip6 proto or proto.
func (l *lowering) proto(n qualified) *cond {
	names := ipProtocols
	if n.proto == protoLink {
		names = etherProtocols
	}
	number, ok := n.id.num, n.id.kind == kindNumber
	if n.id.kind == kindName {
		number, ok = names[n.id.text]
	}
	if !ok {
		return l.fail(n.id.col, "unknown protocol %s: write its number", n.id.describe())
	}
	switch n.proto {
	case protoLink:
		return l.etherType(number, n.id.col)
	case protoAny, protoIP, protoIP6:
		return l.ipProto(number, n.proto != protoIP6, n.proto != protoIP, n.id.col)
	}
	return l.fail(n.col, "%q carries no numbered protocol; ether, ip and ip6 do", protocols[n.proto].name)
}
