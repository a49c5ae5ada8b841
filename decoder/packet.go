package decoder

import (
	"fmt"
	"net/netip"
	"strings"
)

// protoNames are the protocols that have a name here; others go by their number (IANA, protocol numbers).
var protoNames = map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}

// protoName is the protocol's name, or its number.
func protoName(p uint8) string {
	if name, ok := protoNames[p]; ok {
		return name
	}
	return fmt.Sprint(p)
}

// familyName is the record's 4 or 6 as Packet says it.
func familyName(f uint8) string {
	switch f {
	case 4:
		return "ipv4"
	case 6:
		return "ipv6"
	}
	return fmt.Sprintf("unknown(%#x)", f)
}

// flow is a record's tuple with addresses of their own family.
func (t *tupleRecord) flow() FlowTuple {
	src, dst := netip.AddrFrom16(t.Src), netip.AddrFrom16(t.Dst)
	if t.Family == 4 {
		src, dst = src.Unmap(), dst.Unmap()
	}
	return FlowTuple{Src: netip.AddrPortFrom(src, t.Sport), Dst: netip.AddrPortFrom(dst, t.Dport)}
}

// Reverse is the flow of the answers.
func (f FlowTuple) Reverse() FlowTuple { return FlowTuple{Src: f.Dst, Dst: f.Src} }

// String is "src > dst".
func (f FlowTuple) String() string { return f.Src.String() + " > " + f.Dst.String() }

// Flow is where the packet came from and where it was going to.
func (p *Packet) Flow() FlowTuple { return FlowTuple{Src: p.Source(), Dst: p.Destination()} }

// Transport returns what the transport header carries, as far as it was taken. Behind the header of an ICMP error
// that is the head of the packet which the error is about.
func (p *Packet) Transport() []byte {
	if p.data > len(p.Bytes) {
		return nil
	}
	return p.Bytes[p.data:]
}

// IsICMP reports whether the packet is ICMP of the type, numbered as ICMP for IPv4 or as ICMPv6 says (RFC 792, 4443).
func (p *Packet) IsICMP(v4, v6 uint8) bool {
	return p.Proto == "icmp" && p.ICMPType == v4 || p.Proto == "icmpv6" && p.ICMPType == v6
}

// tcpFlags writes TCP flags as tcpdump does.
func tcpFlags(bits uint8) string {
	const letters = "FSRP.UEW" // FIN SYN RST PSH ACK URG ECE CWR, from the lowest bit
	var b strings.Builder
	for i, l := range letters {
		if bits&(1<<i) != 0 {
			b.WriteRune(l)
		}
	}
	return b.String()
}

// packet returns the headers and bytes of a record.
func (r *pathRecord) packet() *Packet {
	flow := r.Packet.flow()
	p := &Packet{
		Family:   familyName(r.Packet.Family),
		Proto:    protoName(r.Packet.Proto),
		Src:      flow.Src.Addr(),
		Sport:    r.Packet.Sport,
		Dst:      flow.Dst.Addr(),
		Dport:    r.Packet.Dport,
		Len:      r.Len,
		TTL:      r.Ttl,
		ID:       r.Id,
		Fragment: r.Fragment,
		ICMPType: r.IcmpType,
		ICMPCode: r.IcmpCode,
		data:     int(r.Data),
	}
	if p.Proto == "tcp" {
		p.Flags = tcpFlags(r.TcpFlags)
	}
	if n := min(int(r.Taken), len(r.Bytes)); n > 0 {
		p.Bytes = append([]byte(nil), r.Bytes[:n]...)
	}
	return p
}
