package decoder

import (
	"encoding/binary"
	"net/netip"
)

// parsePacket reads the headers of a packet that begins with its network header; length is what there was on the
// wire. It returns nil for what is not IP. It is what the programs do in the kernel (skb.h), for packets of a capture.
func parsePacket(b []byte, length uint32) *Packet {
	p := &Packet{Len: length, Bytes: b}
	var next uint8
	var ok bool
	switch {
	case len(b) >= ipv4Min && b[0]>>4 == 4:
		next, ok = p.ipv4(b)
	case len(b) >= ipv6Size && b[0]>>4 == 6:
		next, ok = p.ipv6(b)
	default:
		return nil
	}
	p.Proto = protoName(next)
	p.l4 = p.data
	if ok && p.Fragment == 0 && p.data <= len(p.Bytes) {
		p.transport(next, p.Bytes[p.data:])
	}
	return p
}

// header is what was taken of the transport's header and what follows it; nil if where it begins is not known.
func (p *Packet) header() []byte {
	if p.l4 == 0 || p.l4 > len(p.Bytes) {
		return nil
	}
	return p.Bytes[p.l4:]
}

const (
	ipv4Min    = 20
	ipv6Size   = 40
	udpSize    = 8
	tcpMin     = 20
	icmpSize   = 8
	extensions = 8 // at most, as in the kernel half
)

// ipv4 reads the header (RFC 791) and returns the protocol.
func (p *Packet) ipv4(b []byte) (uint8, bool) {
	p.Family = familyName(4)
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.TTL = b[8]
	p.ID = uint32(binary.BigEndian.Uint16(b[4:]))
	p.Fragment, p.More = binary.BigEndian.Uint16(b[6:])&0x1fff*8, b[6]&ipv4More != 0
	if total := uint32(binary.BigEndian.Uint16(b[2:])); total != 0 && total <= p.Len {
		p.Len = total // what is behind it is padding of the link
		p.Bytes = b[:min(int(total), len(b))]
	}
	p.data = int(b[0]&15) * 4
	return b[9], p.data >= ipv4Min
}

// ipv6 reads the header and its extensions (RFC 8200) and returns what they lead to.
func (p *Packet) ipv6(b []byte) (uint8, bool) {
	p.Family = familyName(6)
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.TTL = b[7]
	if total := uint32(binary.BigEndian.Uint16(b[4:])) + ipv6Size; total <= p.Len && total > ipv6Size {
		p.Len = total
		p.Bytes = b[:min(int(total), len(b))]
	}
	p.data = ipv6Size
	next := b[6]
	for range extensions {
		if !isExtension(next) {
			return next, true
		}
		if len(b) < p.data+8 {
			return next, false
		}
		ext := b[p.data:]
		size := (int(ext[1]) + 1) * 8
		if next == 44 { // a fragment's header has a fixed size
			size = 8
			p.Fragment, p.More = binary.BigEndian.Uint16(ext[2:])&^7, ext[3]&moreFragments != 0
			p.ID = binary.BigEndian.Uint32(ext[4:])
		}
		next = ext[0]
		p.data += size
		if p.Fragment != 0 {
			return next, true
		}
	}
	return next, false
}

// isExtension reports whether a protocol is a header before the transport's: hop-by-hop, routing, fragment,
// destination.
func isExtension(next uint8) bool { return next == 0 || next == 43 || next == 44 || next == 60 }

// transport reads the ports or the ICMP type.
func (p *Packet) transport(proto uint8, b []byte) {
	switch proto {
	case 6, 17, 132:
		if len(b) < 4 {
			return
		}
		p.Sport, p.Dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	switch {
	case proto == 6 && len(b) >= tcpMin:
		p.Flags = tcpFlags(b[13])
		p.data += max(int(b[12]>>4)*4, tcpMin)
	case proto == 17 && len(b) >= udpSize:
		p.data += udpSize
	case (proto == 1 || proto == 58) && len(b) >= icmpSize:
		p.ICMPType, p.ICMPCode = b[0], b[1]
		p.data += icmpSize
	}
}
