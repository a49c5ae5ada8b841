// SPDX-License-Identifier: Apache-2.0

// Package packettest builds packets for tests, by github.com/google/gopacket: what our reader of headers says of them was
// written by another hand. A test of malformed input builds a packet here and then damages it.
package packettest

import (
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// EtherSize is the length of the header that Link puts in front of a packet.
const EtherSize = 14

// TTL is that of the packets whose headers the caller does not make.
const TTL = 64

// Build serializes layers, outermost first, and fills in their lengths and checksums; it leaves out those of transports
// without an IP header, whose addresses they sum. It panics on layers that cannot be serialized, which is the test's own mistake.
func Build(all ...gopacket.SerializableLayer) []byte {
	var network gopacket.NetworkLayer
	sums := true
	for _, layer := range all {
		if n, ok := layer.(gopacket.NetworkLayer); ok {
			network = n
		}
		if l, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if network == nil {
				sums = false
				continue
			}
			if err := l.SetNetworkLayerForChecksum(network); err != nil {
				panic(err)
			}
		}
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: sums}, all...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Ethernet is the header in front of a packet of a type.
func Ethernet(of layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetType: of}
}

// Link is an Ethernet frame as its sender captures it: a short one is not padded.
func Link(header *layers.Ethernet, carried []byte) []byte {
	return append(Build(header)[:EtherSize:EtherSize], carried...)
}

// Frame is the frame of an IP packet as its sender captures it.
func Frame(packet []byte) []byte { return Link(Ethernet(etherType(packet)), packet) }

// Padded is the frame of an IP packet as its receiver captures it: padded, if it is short.
func Padded(packet []byte) []byte {
	return Build(Ethernet(etherType(packet)), gopacket.Payload(packet))
}

func etherType(packet []byte) layers.EthernetType {
	if packet[0]>>4 == 6 {
		return layers.EthernetTypeIPv6
	}
	return layers.EthernetTypeIPv4
}

// IPv4 is the header of a packet that carries proto.
func IPv4(src, dst netip.Addr, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: TTL, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

// IPv6 is the header of a packet that carries next.
func IPv6(src, dst netip.Addr, next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: TTL, NextHeader: next, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

// IP is the header of the addresses' family with a TTL.
func IP(src, dst netip.Addr, proto layers.IPProtocol, ttl uint8) gopacket.SerializableLayer {
	if src.Is4() {
		h := IPv4(src, dst, proto)
		h.TTL = ttl
		return h
	}
	h := IPv6(src, dst, proto)
	h.HopLimit = ttl
	return h
}

// UDP is the IP packet of a datagram.
func UDP(src, dst netip.AddrPort, payload []byte) []byte {
	return Build(IP(src.Addr(), dst.Addr(), layers.IPProtocolUDP, TTL),
		&layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}, gopacket.Payload(payload))
}

// Flags of TCP, as a header has them (RFC 9293, section 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// TCP is the IP packet of a segment.
func TCP(src, dst netip.AddrPort, flags uint8, seq, ack uint32, payload []byte) []byte {
	return Build(IP(src.Addr(), dst.Addr(), layers.IPProtocolTCP, TTL), Segment(src.Port(), dst.Port(), flags, seq, ack), gopacket.Payload(payload))
}

// Segment is the header of a segment.
func Segment(src, dst uint16, flags uint8, seq, ack uint32) *layers.TCP {
	return &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), Seq: seq, Ack: ack, Window: 256,
		FIN: flags&FIN != 0, SYN: flags&SYN != 0, RST: flags&RST != 0, PSH: flags&PSH != 0,
		ACK: flags&ACK != 0, URG: flags&URG != 0, ECE: flags&ECE != 0, CWR: flags&CWR != 0}
}

// ICMPError is the packet by which an address reports the fate of another packet to its sender, quoting what is given of
// it. rest is the second word of the header, which has the limit in errors about the size (RFC 1191, RFC 4443 section 3.2).
func ICMPError(from netip.Addr, kind, code uint8, rest uint32, about []byte) []byte {
	to, _ := netip.AddrFromSlice(Read(about).NetworkLayer().NetworkFlow().Src().Raw())
	if from.Is4() {
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: uint16(rest >> 16), Seq: uint16(rest)}
		return Build(IPv4(from, to, layers.IPProtocolICMPv4), icmp, gopacket.Payload(about))
	}
	word := gopacket.Payload{byte(rest >> 24), byte(rest >> 16), byte(rest >> 8), byte(rest)}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
	return Build(IPv6(from, to, layers.IPProtocolICMPv6), icmp, word, gopacket.Payload(about))
}

// Read returns what gopacket reads of an IP packet, of either family.
func Read(b []byte) gopacket.Packet {
	first := layers.LayerTypeIPv4
	if len(b) > 0 && b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	return gopacket.NewPacket(b, first, gopacket.DecodeOptions{})
}

// FragmentHeader is the IPv6 header of a fragment (RFC 8200, section 4.5), which gopacket reads but does not write. The
// offset is in bytes, of which it can say multiples of 8.
func FragmentHeader(next layers.IPProtocol, offset uint16, more bool, id uint32) gopacket.Payload {
	if more {
		offset |= 1
	}
	return gopacket.Payload{byte(next), 0, byte(offset >> 8), byte(offset), byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
}

// Fragments cuts up what an IP header carries, into pieces of size bytes, which is a multiple of 8.
func Fragments(packet []byte, id uint32, size int) [][]byte {
	var all [][]byte
	read := Read(packet).NetworkLayer()
	body := read.LayerPayload()
	for at := 0; at < len(body); at += size {
		part, more := body[at:min(at+size, len(body))], at+size < len(body)
		switch h := read.(type) {
		case *layers.IPv4:
			ip := *h
			ip.Id, ip.FragOffset, ip.Flags = uint16(id), uint16(at/8), 0
			if more {
				ip.Flags = layers.IPv4MoreFragments
			}
			all = append(all, Build(&ip, gopacket.Payload(part)))
		case *layers.IPv6:
			ip := *h
			ip.NextHeader = layers.IPProtocolIPv6Fragment
			all = append(all, Build(&ip, FragmentHeader(h.NextHeader, uint16(at), more, id), gopacket.Payload(part)))
		}
	}
	return all
}
