// SPDX-License-Identifier: Apache-2.0

package packet

// ParseIP reads the headers of an IP packet, as far as b has them: also of one that an ICMP error quotes, which is cut
// short. It returns nil if b does not begin with an IP header. Len is what the header claims.
func ParseIP(b []byte) *Packet { return Parse(b, 0) }

// Parse is ParseIP for a packet of which length bytes were on the wire, from the network header on; 0 if nothing but
// its header says how many. It is small enough to be inlined, so a packet that its caller does not keep takes no memory of the heap.
func Parse(b []byte, length uint32) *Packet {
	p := new(Packet)
	if !p.parse(b, length) {
		return nil
	}
	return p
}

// parse fills a packet that is empty, field by field: a literal is built beside it and copied.
func (p *Packet) parse(b []byte, length uint32) bool {
	h := Headers{Len: length}
	if !h.parse(b) {
		return false
	}
	p.Family = "ipv6"
	if h.Version == 4 {
		p.Family = "ipv4"
	}
	p.Proto, p.Src, p.Dst, p.Bytes = ProtoName(h.Proto), h.Src, h.Dst, h.Taken(b)
	p.Sport, p.Dport, p.Len, p.TTL, p.TransportAt, p.DataAt = h.Sport, h.Dport, h.Len, h.TTL, h.Transport, h.Data
	p.ID, p.Fragment, p.More, p.ICMPType, p.ICMPCode = h.ID, h.Fragment, h.More, h.ICMPType, h.ICMPCode
	if h.TCPFlags != 0 {
		p.Flags = FlagsText(h.TCPFlags)
	}
	return true
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
