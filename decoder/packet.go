package decoder

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// protoName is the protocol's name, or its number (IANA, protocol numbers).
func protoName(p uint8) string {
	switch p {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(p))
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
func (f FlowTuple) String() string { return End(f.Src) + " > " + End(f.Dst) }

// End is one end of a flow, for people: without a port where the protocol has none.
func End(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

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

// Payload is how many bytes the transport carried, however many of them were taken; 0 if its header is not known.
func (p *Packet) Payload() uint32 {
	if p.data == 0 || uint32(p.data) > p.Len {
		return 0
	}
	return p.Len - uint32(p.data)
}

// ChecksumMissing reports whether a UDP packet says that it has no checksum. IPv6 forbids that but to tunnels (RFC 6936).
func (p *Packet) ChecksumMissing() bool {
	h := p.header()
	return p.Proto == "udp" && len(h) >= udpSize && h[6] == 0 && h[7] == 0
}

// IsICMP reports whether the packet is ICMP of the type, numbered as ICMP for IPv4 or as ICMPv6 says (RFC 792, 4443).
func (p *Packet) IsICMP(v4, v6 uint8) bool {
	return p.Proto == "icmp" && p.ICMPType == v4 || p.Proto == "icmpv6" && p.ICMPType == v6
}

// HasFlag reports whether a TCP packet has a flag, by the letter that Flags writes for it.
func (p *Packet) HasFlag(letter byte) bool { return strings.IndexByte(p.Flags, letter) >= 0 }

// String is the packet in a line, with what it carries.
func (p *Packet) String() string {
	s := fmt.Sprintf("%s %v len %d", p.Proto, p.Flow(), p.Len)
	switch {
	case p.Flags != "":
		s += " [" + p.Flags + "]"
	case p.IsICMPError():
		s += " " + p.ICMPName()
	case p.Tunnel != nil:
		s += fmt.Sprintf(", %v that carries %v", p.Tunnel, p.Tunnel.Packet)
	}
	return s
}

// tcpFlags writes TCP flags as tcpdump does.
func tcpFlags(bits uint8) string {
	switch bits { // nearly all packets have one of these, and need no memory
	case 0x10:
		return "."
	case 0x18:
		return "P."
	case 0x02:
		return "S"
	case 0x12:
		return "S."
	case 0x11:
		return "F."
	}
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
		Fragment: r.Fragment &^ moreFragments,
		More:     r.Fragment&moreFragments != 0,
		ICMPType: r.IcmpType,
		ICMPCode: r.IcmpCode,
		l4:       int(r.L4),
		data:     int(r.Data),
	}
	if p.Proto == "tcp" {
		p.Flags = tcpFlags(r.TcpFlags)
	}
	if n := min(int(r.Taken), len(r.Bytes)); n > 0 {
		p.Bytes = append([]byte(nil), r.Bytes[:n]...)
	}
	p.carry(int(r.Inner), 0)
	return p
}
