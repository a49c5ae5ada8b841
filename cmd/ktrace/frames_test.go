// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet/packettest"
)

// ipFrame is the frame of a packet, whose identification is id where the header has one.
func ipFrame(src, dst netip.Addr, id uint32, proto layers.IPProtocol, carried ...gopacket.SerializableLayer) []byte {
	ip := packettest.IP(src, dst, proto, packettest.TTL)
	if v4, ok := ip.(*layers.IPv4); ok {
		v4.Id, v4.Flags = uint16(id), layers.IPv4DontFragment
	}
	return packettest.Frame(packettest.Build(append([]gopacket.SerializableLayer{ip}, carried...)...))
}

func udpFrame(src, dst netip.AddrPort, payload []byte) []byte {
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	return ipFrame(src.Addr(), dst.Addr(), 0, layers.IPProtocolUDP, udp, gopacket.Payload(payload))
}

func tcpFrame(src, dst netip.AddrPort, seq uint32, flags byte, data []byte) []byte {
	return ipFrame(src.Addr(), dst.Addr(), seq, layers.IPProtocolTCP, packettest.Segment(src.Port(), dst.Port(), flags, seq, 1), gopacket.Payload(data))
}

// filler is data whose content does not matter.
func filler(size int) []byte { return bytes.Repeat([]byte{'x'}, size) }

// greFrame is of a protocol that no view is about.
func greFrame(src, dst netip.Addr, id uint32) []byte {
	return ipFrame(src, dst, id, layers.IPProtocolGRE, &layers.GRE{Protocol: layers.EthernetTypeIPv4}, gopacket.Payload(make([]byte, 4)))
}

// icmpFrame is an ICMP error about a frame, from an address that is 4 hops away. It quotes as much as a router must.
func icmpFrame(from netip.Addr, kind, code byte, rest uint32, about []byte) []byte {
	const quoted = 28
	return withTTL(packettest.Frame(packettest.ICMPError(from, kind, code, rest, about[packettest.EtherSize:][:quoted])), packettest.TTL-3)
}

// withTTL is a frame of IPv4 with another TTL.
func withTTL(frame []byte, ttl byte) []byte {
	ip := packettest.Read(frame[packettest.EtherSize:]).NetworkLayer().(*layers.IPv4)
	ip.TTL = ttl
	return packettest.Frame(packettest.Build(ip, gopacket.Payload(ip.Payload)))
}

// toMAC changes the link's destination of a frame.
func toMAC(frame []byte, mac byte) []byte {
	copy(frame, slices.Repeat([]byte{mac}, 6))
	return frame
}

// Flags of DNS messages, as a header has them (RFC 1035, section 4.1.1).
const (
	dnsResponse  = 0x8000
	dnsTruncated = 0x0200
	dnsRecursion = 0x0100 // desired
	dnsAvailable = 0x0080
	dnsRcode     = 0x000f
)

// message is a DNS query for the address of web.example.org, or its answer.
func message(id int, flags uint16, answers int) []byte {
	return messageAbout("web.example.org", id, flags, answers)
}

// messageAbout is a DNS query for the address of a name, or its answer.
func messageAbout(name string, id int, flags uint16, answers int) []byte {
	m := &layers.DNS{ID: uint16(id), QR: flags&dnsResponse != 0, TC: flags&dnsTruncated != 0, RD: flags&dnsRecursion != 0, RA: flags&dnsAvailable != 0,
		ResponseCode: layers.DNSResponseCode(flags & dnsRcode), Questions: []layers.DNSQuestion{{Name: []byte(name), Type: layers.DNSTypeA, Class: layers.DNSClassIN}}}
	for range answers {
		m.Answers = append(m.Answers, layers.DNSResourceRecord{Name: []byte(name), Type: layers.DNSTypeA, Class: layers.DNSClassIN, TTL: 60, IP: []byte{192, 0, 2, 1}})
	}
	return packettest.Build(m)
}
