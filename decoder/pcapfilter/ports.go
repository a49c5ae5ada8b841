// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import (
	"strconv"
	"strings"
)

// port is true of TCP, UDP and SCTP packets by their ports.
func (l *lowering) port(n qualified) *cond {
	p, transport := l.portNumber(n, n.id)
	return l.ports(n, transport, func(v Value) *cond { return test(v, Equal, p) })
}

func (l *lowering) portRange(n qualified) *cond {
	from, to := n.id, n.id
	if n.id.kind == kindName {
		i := rangeDash(n.id.text)
		if i > 0 {
			from = portToken(n.id.text[:i], n.id.col)
			to = portToken(n.id.text[i+1:], n.id.col+i+1)
		}
	}
	low, transport := l.portNumber(n, from)
	high, highTransport := l.portNumber(n, to)
	if transport != highTransport {
		transport = n.proto
	}
	low, high = min(low, high), max(low, high)
	return l.ports(n, transport, func(v Value) *cond {
		return and(test(v, GreaterEqual, low), negate(test(v, Greater, high)))
	})
}

// rangeDash finds the dash between two ports, whose names may have dashes too.
func rangeDash(s string) int {
	for i := range s {
		if s[i] == '-' && knownPort(s[:i]) && knownPort(s[i+1:]) {
			return i
		}
	}
	return strings.IndexByte(s, '-')
}

func knownPort(s string) bool {
	_, ok := services[s]
	return ok || s != "" && isNumber(s)
}

// portToken makes a token of one end of a range.
func portToken(s string, col int) token {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return token{kind: kindNumber, text: s, num: uint32(n), col: col}
	}
	return token{kind: kindName, text: s, col: col}
}

// portNumber reads a port and the transport it is for: the qualifier's, else the one that its name is bound to.
func (l *lowering) portNumber(n qualified, id token) (uint32, proto) {
	switch n.proto {
	case protoAny, protoTCP, protoUDP, protoSCTP:
	default:
		l.fail(n.col, "%q has no ports; tcp, udp and sctp have", protocols[n.proto].name)
	}
	switch id.kind {
	case kindNumber:
		if id.num > 65535 {
			l.fail(id.col, "port %d is larger than 65535", id.num)
		}
		return id.num, n.proto
	case kindName:
		s, ok := services[id.text]
		if !ok {
			l.fail(id.col, "unknown service %s: write the port's number", id.describe())
		}
		if n.proto == protoAny {
			return s.port, s.proto
		}
		if s.proto != protoAny && s.proto != n.proto {
			l.fail(id.col, "service %s is a %s port", id.text, protocols[s.proto].name)
		}
		return s.port, n.proto
	}
	l.fail(id.col, "expected %s, found the address %s", wanted(n.qual), id.text)
	return 0, n.proto
}

// ports tests the ports of IPv6 packets, whose transport header follows at once, and then those of IPv4
// packets that are no later fragments.
func (l *lowering) ports(n qualified, transport proto, is func(Value) *cond) *cond {
	transports := []proto{protoSCTP, protoTCP, protoUDP}
	if transport != protoAny {
		transports = []proto{transport}
	}
	var in6, in4 *cond
	for _, t := range transports {
		number := protocols[t].number
		src, dst := field(l.net+40, 2), field(l.net+42, 2)
		in6 = orElse(in6, and(test(field(l.net+6, 1), Equal, number), either(n.dir, is(src), is(dst))))
		src, dst = l.transport(0, 2), l.transport(2, 2)
		in4 = orElse(in4, and(test(field(l.net+9, 1), Equal, number), and(l.firstFragment(), either(n.dir, is(src), is(dst)))))
	}
	return or(and(l.ip6(n.col), in6), and(l.ip4(n.col), in4))
}

// orElse is or, where there may be nothing yet on the left.
func orElse(left, right *cond) *cond {
	if left == nil {
		return right
	}
	return or(left, right)
}

func (l *lowering) transport(off uint32, size uint8) Value {
	return Value{Source: Transport, Net: l.net, Off: off, Size: size, Mask: fullMask(size)}
}

// firstFragment is true of IPv4 packets that are whole or the first fragment.
func (l *lowering) firstFragment() *cond {
	return test(field(l.net+6, 2).masked(0x1fff), Equal, 0)
}
