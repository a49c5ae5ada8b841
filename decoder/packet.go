package decoder

import (
	"encoding/binary"
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

// ParseIP reads the headers of an IP packet, as far as b has them: also of one that an ICMP error quotes, which is cut
// short. It returns nil if b does not begin with an IP header. Len is what the header claims.
func ParseIP(b []byte) *Packet {
	const v4Header, v6Header = 20, 40
	switch {
	case len(b) >= v4Header && b[0]>>4 == 4 && b[0]&15 >= v4Header/4:
		p := &Packet{
			Family: familyName(4), Proto: protoName(b[9]), TTL: b[8], Bytes: b,
			Src: netip.AddrFrom4([4]byte(b[12:])), Dst: netip.AddrFrom4([4]byte(b[16:])),
			Len: uint32(binary.BigEndian.Uint16(b[2:])), ID: uint32(binary.BigEndian.Uint16(b[4:])),
			Fragment: binary.BigEndian.Uint16(b[6:]) & 0x1fff * 8, More: b[6]&ipv4More != 0, data: int(b[0]&15) * 4,
		}
		p.parseTransport(b[9])
		return p
	case len(b) >= v6Header && b[0]>>4 == 6:
		p := &Packet{
			Family: familyName(6), TTL: b[7], Bytes: b, data: v6Header,
			Src: netip.AddrFrom16([16]byte(b[8:])), Dst: netip.AddrFrom16([16]byte(b[24:])),
			Len: v6Header + uint32(binary.BigEndian.Uint16(b[4:])),
		}
		proto := p.skipExtensions(b[6])
		p.Proto = protoName(proto)
		p.parseTransport(proto)
		return p
	}
	return nil
}

// skipExtensions moves behind IPv6 extension headers (RFC 8200, section 4) and returns what follows them.
func (p *Packet) skipExtensions(next uint8) uint8 {
	const hopByHop, routing, fragment, destination = 0, 43, 44, 60
	for p.Fragment == 0 {
		ext := p.Transport()
		if len(ext) < 8 {
			break
		}
		switch next {
		case fragment:
			p.Fragment, p.More = binary.BigEndian.Uint16(ext[2:])&^7, ext[3]&moreFragments != 0
			p.ID = binary.BigEndian.Uint32(ext[4:])
			p.data += 8
		case hopByHop, routing, destination:
			p.data += (int(ext[1]) + 1) * 8
		default:
			return next
		}
		next = ext[0]
	}
	return next
}

// parseTransport reads ports, flags or the type of ICMP; later fragments have none.
func (p *Packet) parseTransport(proto uint8) {
	h := p.Transport()
	p.l4 = p.data
	if p.Fragment != 0 || len(h) < 8 {
		return
	}
	switch protoName(proto) {
	case "icmp", "icmpv6":
		p.ICMPType, p.ICMPCode = h[0], h[1]
		p.data += 8
	case "udp", "tcp", "sctp":
		p.Sport, p.Dport = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
		switch {
		case proto == 17:
			p.data += 8
		case proto == 6 && len(h) >= 20:
			p.Flags = tcpFlags(h[13])
			p.data += int(h[12]>>4) * 4
		}
	}
}
