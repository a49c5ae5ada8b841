package dns

import "ktrace/decoder"

// unreachable names the codes of ICMP destination unreachable (RFC 792, 1812) that end a query.
var unreachable = map[uint8]string{
	0: "net-unreachable", 1: "host-unreachable", 2: "proto-unreachable", 3: "port-unreachable", 9: "net-prohibited",
	10: "host-prohibited", 13: "admin-prohibited",
}

// unreachable6 names those of ICMPv6 (RFC 4443, section 3.1).
var unreachable6 = map[uint8]string{
	0: "no-route", 1: "admin-prohibited", 2: "beyond-scope", 3: "addr-unreachable", 4: "port-unreachable",
	5: "policy-fail", 6: "reject-route",
}

// refusal names the ICMP error if it says that a packet will not arrive.
func refusal(p *decoder.Packet) (string, bool) {
	const (
		destinationUnreachable, timeExceeded   = 3, 11
		destinationUnreachable6, timeExceeded6 = 1, 3
	)
	switch {
	case p.IsICMP(timeExceeded, timeExceeded6):
		return "time-exceeded", true
	case p.Proto == "icmp" && p.ICMPType == destinationUnreachable:
		name, ok := unreachable[p.ICMPCode]
		return name, ok
	case p.Proto == "icmpv6" && p.ICMPType == destinationUnreachable6:
		name, ok := unreachable6[p.ICMPCode]
		return name, ok
	}
	return "", false
}
