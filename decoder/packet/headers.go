// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// Protocols of IP (IANA, protocol numbers) whose headers are read.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
	SCTP   = 132
)

// Headers are those of an IP packet. The caller owns it and may use it again for the next packet: it points nowhere.
type Headers struct {
	Src, Dst netip.Addr
	Len      uint32 // bytes from the network header on, without the padding of the link
	ID       uint32 // identification: of IPv4, and of IPv6 fragments
	Sport    uint16 // as all of the transport's fields 0 in later fragments, and where the header was cut off
	Dport    uint16
	Data     uint16 // offset of what the transport carries; of an ICMP error: of the packet that it is about
	Fragment uint16 // offset, bytes
	More     bool   // fragments follow
	Version  uint8  // 4, 6
	Proto    uint8  // behind all extension headers of IPv6
	TTL      uint8  // or hop limit
	TCPFlags uint8  // FIN is the lowest bit, CWR the highest (RFC 9293, 3.1)
	ICMPType uint8
	ICMPCode uint8
	// Transport is the offset of the transport's header from the network header; of a later fragment, of its data. It is not beside
	// Data: read as one, two fields that were just written one by one stall the CPU.
	Transport uint16
}

const (
	ipv4Min       = 20
	ipv6Size      = 40
	transportMin  = 8 // bytes that an ICMP error quotes at the least (RFC 792), and ICMP's and UDP's header
	tcpMin        = 20
	sctpSize      = 12
	extensionUnit = 8
	maxExtensions = 8 // EXT_HEADERS of skb.h

	ipv4More, ipv4Offset = 0x20, 0x1fff
	ipv6More, ipv6Offset = 1, 7

	hopByHop, routing, fragment, destination = 0, 43, 44, 60
)

// Parse reads the headers of the packet that b begins with, as far as b has them. wire is how many bytes of it there were
// from the network header on, 0 if only the header says it, as of a packet that an ICMP error quotes, or b. It returns false, and
// leaves h empty, for what does not begin with a whole IPv4 or IPv6 header.
func (h *Headers) Parse(b []byte, wire uint32) bool {
	*h = Headers{Len: wire}
	if !h.parse(b) {
		*h = Headers{}
		return false
	}
	return true
}

// parse is Parse into an h that is empty but for the length on the wire. IPv4 (RFC 791) is read in it: a call is a tenth of what its
// header takes.
func (h *Headers) parse(b []byte) bool {
	switch {
	case len(b) >= ipv4Min && b[0]>>4 == 4 && b[0]&15 >= ipv4Min/4:
		h.Version, h.Proto, h.TTL = 4, b[9], b[8]
		h.Src, h.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		h.ID = uint32(binary.BigEndian.Uint16(b[4:]))
		h.Fragment, h.More = binary.BigEndian.Uint16(b[6:])&ipv4Offset*8, b[6]&ipv4More != 0
		h.Transport = uint16(b[0]&15) * 4
		h.Data = h.Transport
		h.claim(uint32(binary.BigEndian.Uint16(b[2:])), uint32(h.Transport), len(b))
	case len(b) >= ipv6Size && b[0]>>4 == 6:
		h.ipv6(b)
		if !h.extensions(h.Taken(b)) {
			return true
		}
	default:
		return false
	}
	if h.Fragment == 0 {
		h.transport(h.Taken(b))
	}
	return true
}

// Taken returns the bytes of b that are the packet's, without the padding of the link.
func (h *Headers) Taken(b []byte) []byte { return b[:min(uint64(len(b)), uint64(h.Len))] }

// ipv6 reads the fixed header (RFC 8200, section 3).
func (h *Headers) ipv6(b []byte) {
	h.Version, h.Proto, h.TTL = 6, b[6], b[7]
	h.Src, h.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	h.Transport, h.Data = ipv6Size, ipv6Size
	h.claim(uint32(binary.BigEndian.Uint16(b[4:]))+ipv6Size, ipv6Size+1, len(b))
}

// claim takes the length that the header says, where it can be true: segmentation offload leaves 0 there (RFC 2675 has a
// use for it, too) or what fits no more, and a link pads short frames.
func (h *Headers) claim(length, least uint32, taken int) {
	switch {
	case length >= least && (h.Len == 0 || length <= h.Len):
		h.Len = length
	case h.Len == 0:
		h.Len = uint32(taken)
	}
}

// extensions reads what is between IPv6's header and the transport's (RFC 8200, section 4). It returns false if it ends
// before the transport's: then Proto is that of the extension that could not be read.
func (h *Headers) extensions(b []byte) bool {
	for n := 0; isExtension(h.Proto); n++ {
		if n == maxExtensions || len(b) < int(h.Transport)+extensionUnit {
			return false
		}
		ext := b[h.Transport:]
		size := (uint16(ext[1]) + 1) * extensionUnit
		if h.Proto == fragment {
			size = extensionUnit
			offset := binary.BigEndian.Uint16(ext[2:])
			h.Fragment, h.More = offset&^ipv6Offset, offset&ipv6More != 0
			h.ID = binary.BigEndian.Uint32(ext[4:])
		}
		h.Proto = ext[0]
		h.Transport += size
		h.Data = h.Transport
		if h.Fragment != 0 {
			return true // what follows is the middle of something
		}
	}
	return true
}

// isExtension reports whether a protocol is a header before the transport's.
func isExtension(proto uint8) bool {
	return proto == hopByHop || proto == routing || proto == fragment || proto == destination
}

// transport reads the ports, or the type of ICMP, and finds what is carried.
func (h *Headers) transport(b []byte) {
	if len(b) < int(h.Transport)+transportMin {
		return
	}
	t := b[h.Transport:]
	switch h.Proto {
	case ICMP, ICMPv6:
		h.ICMPType, h.ICMPCode = t[0], t[1]
		h.Data += transportMin
	case UDP:
		h.Sport, h.Dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
		h.Data += transportMin
	case TCP:
		h.Sport, h.Dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
		if len(t) >= tcpMin {
			h.TCPFlags = t[13]
			h.Data += max(uint16(t[12]>>4)*4, tcpMin)
		}
	case SCTP:
		h.Sport, h.Dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
		if len(t) >= sctpSize {
			h.Data += sctpSize
		}
	}
}

// IsICMPError reports whether what the packet carries is the head of another, which did not arrive: unreachable, source
// quench, redirect, time exceeded, parameter problem (RFC 792); all errors of RFC 4443.
func (h *Headers) IsICMPError() bool { return IsICMPError(h.Proto, h.ICMPType) }

// IsICMPError is Headers.IsICMPError by the numbers.
func IsICMPError(proto, icmpType uint8) bool {
	switch proto {
	case ICMP:
		return icmpType == 3 || icmpType == 4 || icmpType == 5 || icmpType == 11 || icmpType == 12
	case ICMPv6:
		return icmpType >= 1 && icmpType <= 4
	}
	return false
}
