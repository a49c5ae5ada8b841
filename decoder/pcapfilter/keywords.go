// SPDX-License-Identifier: Apache-2.0

package pcapfilter

// keyword lowers the primitives that are words of their own.
func (l *lowering) keyword(k keyword) *cond {
	switch k.word {
	case "less":
		return negate(test(beside(Length), Greater, k.number))
	case "greater":
		return test(beside(Length), GreaterEqual, k.number)
	case "broadcast":
		return l.broadcast(k)
	case "multicast":
		return l.multicast(k)
	case "inbound", "outbound":
		return l.way(k.word == "outbound")
	case "ifindex":
		return test(l.interfaceNumber(), Equal, k.number)
	case "vlan":
		return l.vlan(k)
	case "mpls":
		return l.mpls(k)
	}
	return l.etherType(etherPPPoED, k.col)
}

func (l *lowering) broadcast(k keyword) *cond {
	switch k.proto {
	case protoAny, protoLink:
		if l.link != LinkEthernet {
			return l.fail(k.col, "%s have no broadcast address; ip broadcast can be asked for", l.name)
		}
		return and(test(field(2, 4), Equal, 0xffffffff), test(field(0, 2), Equal, 0xffff))
	case protoIP:
		dst := field(l.net+16, 4)
		return and(l.ip4(k.col), or(test(dst, Equal, 0), test(dst, Equal, 0xffffffff)))
	}
	return l.fail(k.col, "%q has no broadcast; ether and ip have", protocols[k.proto].name)
}

func (l *lowering) multicast(k keyword) *cond {
	switch k.proto {
	case protoAny, protoLink:
		if l.link != LinkEthernet {
			return l.fail(k.col, "%s have no multicast address; ip multicast and ip6 multicast can be asked for", l.name)
		}
		return negate(test(field(0, 1).masked(1), Equal, 0))
	case protoIP:
		return and(l.ip4(k.col), test(field(l.net+16, 1), GreaterEqual, 224))
	case protoIP6:
		return and(l.ip6(k.col), test(field(l.net+24, 1), Equal, 255))
	}
	return l.fail(k.col, "%q has no multicast; ether, ip and ip6 have", protocols[k.proto].name)
}

// way is inbound or outbound. Cooked captures say it in their header, where 4 is a packet that was sent.
func (l *lowering) way(out bool) *cond {
	const outgoing = 4
	var sent *cond
	switch l.link {
	case LinkLinuxSLL:
		sent = test(field(0, 2), Equal, outgoing)
	case LinkLinuxSLL2:
		sent = test(field(10, 1), Equal, outgoing)
	default:
		d := Inbound
		if out {
			d = Outbound
		}
		return test(beside(Way), Equal, uint32(d))
	}
	if out {
		return sent
	}
	return negate(sent)
}

func (l *lowering) interfaceNumber() Value {
	if l.link == LinkLinuxSLL2 {
		return field(4, 4)
	}
	return beside(Interface)
}

// tagPresent is the bit of a Tag value that says that there is one.
const tagPresent = 1 << 16

// vlan is true of tagged packets and moves what follows behind the tag.
func (l *lowering) vlan(k keyword) *cond {
	const maxVLAN = 4095
	switch {
	case k.numbered && k.number > maxVLAN:
		return l.fail(k.col, "VLAN %d is larger than %d", k.number, maxVLAN)
	case l.labels > 0:
		return l.fail(k.col, "vlan cannot follow mpls")
	case l.link == LinkNetwork:
		return l.vlanBeside(k)
	case l.link != LinkEthernet:
		return l.fail(k.col, "%s have no VLAN tags", l.name)
	}
	is := or(or(l.etherType(etherVLAN, k.col), l.etherType(etherQinQ, k.col)), l.etherType(etherVLAN9100, k.col))
	if k.numbered {
		is = and(is, test(field(l.net, 2).masked(maxVLAN), Equal, k.number))
	}
	l.typ += 4
	l.net += 4
	l.tags++
	return is
}

// vlanBeside asks for the tag that the kernel keeps beside a packet.
func (l *lowering) vlanBeside(k keyword) *cond {
	if l.tags > 0 {
		return l.fail(k.col, "%s show only one VLAN tag", l.name)
	}
	l.tags++
	if k.numbered {
		return test(beside(Tag).masked(tagPresent|0xfff), Equal, tagPresent|k.number)
	}
	return test(beside(Tag).masked(tagPresent), Equal, tagPresent)
}

// mpls is true of labelled packets and moves what follows behind the label.
func (l *lowering) mpls(k keyword) *cond {
	const maxLabel = 1<<20 - 1
	if k.numbered && k.number > maxLabel {
		return l.fail(k.col, "MPLS label %d is larger than %d", k.number, maxLabel)
	}
	if l.link != LinkEthernet {
		return l.fail(k.col, "%s have no MPLS labels", l.name)
	}
	var is *cond
	if l.labels == 0 {
		is = l.etherType(etherMPLS, k.col)
	} else {
		is = test(field(l.net-2, 1).masked(1), Equal, 0) // the label before is not the last
	}
	if k.numbered {
		is = and(is, test(field(l.net, 4).masked(0xfffff000), Equal, k.number<<12))
	}
	l.net += 4
	l.labels++
	return is
}
