// SPDX-License-Identifier: Apache-2.0

package packet

// ParseIP reads the headers of an IP packet, as far as b has them: also of one that an ICMP error quotes, which is cut
// short. It returns nil if b does not begin with an IP header. Len is what the header claims.
func ParseIP(b []byte) *Packet { return Parse(b, 0) }

// Parse is ParseIP for a packet of which length bytes were on the wire, from the network header on; 0 if nothing but
// its header says how many.
func Parse(b []byte, length uint32) *Packet {
	var h Headers
	if !h.Parse(b, length) {
		return nil
	}
	family := "ipv6"
	if h.Version == 4 {
		family = "ipv4"
	}
	p := &Packet{
		Family: family, Proto: ProtoName(h.Proto), Src: h.Src, Sport: h.Sport, Dst: h.Dst, Dport: h.Dport,
		Len: h.Len, TTL: h.TTL, ID: h.ID, Fragment: h.Fragment, More: h.More, ICMPType: h.ICMPType, ICMPCode: h.ICMPCode,
		Bytes: h.Taken(b), TransportAt: h.Transport, DataAt: h.Data,
	}
	if h.TCPFlags != 0 {
		p.Flags = FlagsText(h.TCPFlags)
	}
	return p
}

// TransportHeader is what was taken of the transport's header and what follows it; nil if where it begins is not known.
func (p *Packet) TransportHeader() []byte {
	if p.TransportAt == 0 || int(p.TransportAt) > len(p.Bytes) {
		return nil
	}
	return p.Bytes[p.TransportAt:]
}

// udpSize is the size of the header of UDP, bytes.
const udpSize = 8
