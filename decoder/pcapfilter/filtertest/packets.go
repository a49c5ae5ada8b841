// SPDX-License-Identifier: Apache-2.0

// Package filtertest holds what the tests of both halves of the filter share: packets, expressions
// and libpcap as oracle. It is for tests only.
package filtertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet/packettest"
)

// Packet is a frame of the corpus, with a name that test output can show.
type Packet struct {
	Name string
	Data []byte
}

var (
	macA      = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	macB      = net.HardwareAddr{0x0a, 0x58, 0x0a, 0xf4, 1, 2}
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	multicast = net.HardwareAddr{0x01, 0, 0x5e, 0, 0, 0xfb}
)

func ethernet(dst, src net.HardwareAddr, of layers.EthernetType, payload ...[]byte) []byte {
	return packettest.Link(&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: of}, slices.Concat(payload...))
}

func tag(priority uint8, id uint16, next layers.EthernetType) []byte {
	return packettest.Build(&layers.Dot1Q{Priority: priority, VLANIdentifier: id, Type: next})
}

func label(value uint32, bottom bool) []byte {
	return packettest.Build(&layers.MPLS{Label: value, StackBottom: bottom, TTL: 64})
}

// damaged is a packet with another version and header length.
func damaged(first byte, packet []byte) []byte {
	packet[0] = first
	return packet
}

// ip4 is an IPv4 packet, with options that fill up to its header length.
func ip4(src, dst string, proto layers.IPProtocol, flags layers.IPv4Flag, fragment uint16, options []layers.IPv4Option, payload ...[]byte) []byte {
	ip := packettest.IPv4(netip.MustParseAddr(src), netip.MustParseAddr(dst), proto)
	ip.Id, ip.TTL, ip.Flags, ip.FragOffset, ip.Options = 0x1234, 63, flags, fragment, options
	return packettest.Build(ip, gopacket.Payload(slices.Concat(payload...)))
}

func ip6(src, dst string, next layers.IPProtocol, payload ...[]byte) []byte {
	ip := packettest.IPv6(netip.MustParseAddr(src), netip.MustParseAddr(dst), next)
	ip.FlowLabel = 0x12345
	return packettest.Build(ip, gopacket.Payload(slices.Concat(payload...)))
}

func tcp(src, dst uint16, flags uint8, options []layers.TCPOption, payload string) []byte {
	header := packettest.Segment(src, dst, flags, 1000, 2000)
	header.Window, header.Checksum, header.Options = 64240, 0xabcd, options
	return packettest.Build(header, gopacket.Payload(payload))
}

func udp(src, dst uint16, payload string) []byte {
	return packettest.Build(&layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst), Checksum: 0x1111}, gopacket.Payload(payload))
}

func sctp(src, dst uint16) []byte {
	const initChunk = "\x01\x00\x00\x14" // its header
	return packettest.Build(&layers.SCTP{SrcPort: layers.SCTPPort(src), DstPort: layers.SCTPPort(dst), VerificationTag: 7}, gopacket.Payload(initChunk))
}

func icmp4(kind, code uint8, id, seq uint16, payload ...[]byte) []byte {
	return packettest.Build(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: id, Seq: seq}, gopacket.Payload(slices.Concat(payload...)))
}

func icmp6(kind, code uint8, payload ...[]byte) []byte {
	return packettest.Build(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}, gopacket.Payload(slices.Concat(payload...)))
}

func arp(op uint16, src, dst string) []byte {
	return packettest.Build(&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: macA, SourceProtAddress: netip.MustParseAddr(src).AsSlice(), DstHwAddress: macB, DstProtAddress: netip.MustParseAddr(dst).AsSlice()})
}

const dnsQuery = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"

// Packets returns the corpus: every kind of packet that the language distinguishes, some of them cut at every
// length, some with bytes changed, and noise. It is the same in every run.
func Packets() []Packet {
	whole := append(packets4(), packets6()...)
	whole = append(whole, packetsLink()...)
	out := whole
	for _, p := range whole {
		if len(p.Data) > 120 {
			continue
		}
		step := 5
		if len(p.Name)%3 == 0 {
			step = 1
		}
		for n := 14; n < len(p.Data) && n < 84; n += step {
			out = append(out, Packet{fmt.Sprintf("%s cut to %d", p.Name, n), p.Data[:n:n]})
		}
	}
	r := rand.New(rand.NewPCG(5, 7))
	for i := range 150 {
		p := whole[r.IntN(len(whole))]
		data := append([]byte(nil), p.Data...)
		for range 1 + r.IntN(4) {
			data[r.IntN(min(len(data), 60))] = byte(r.Uint32())
		}
		out = append(out, Packet{fmt.Sprintf("%s changed %d", p.Name, i), data})
	}
	for i := range 60 {
		data := make([]byte, 14+r.IntN(90))
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		out = append(out, Packet{fmt.Sprintf("noise %d", i), data})
	}
	return out
}

func packets4() []Packet {
	pod, node, dns, out := "10.244.1.2", "192.168.1.10", "10.96.0.10", "93.184.216.34"
	options := []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}} // record route
	mss := []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionData: []byte{5, 180}}, {OptionType: layers.TCPOptionKindNop},
		{OptionType: layers.TCPOptionKindWindowScale, OptionData: []byte{7}}}
	frame := func(payload []byte) []byte { return ethernet(macB, macA, layers.EthernetTypeIPv4, payload) }
	list := []Packet{
		{"tcp syn", frame(ip4(pod, out, 6, layers.IPv4DontFragment, 0, nil, tcp(40000, 80, 0x02, mss, "")))},
		{"tcp syn ack", frame(ip4(out, pod, 6, layers.IPv4DontFragment, 0, nil, tcp(80, 40000, 0x12, mss, "")))},
		{"tcp ack", frame(ip4(pod, out, 6, layers.IPv4DontFragment, 0, nil, tcp(40000, 80, 0x10, nil, "")))},
		{"tcp push", frame(ip4(pod, out, 6, layers.IPv4DontFragment, 0, nil, tcp(40000, 80, 0x18, nil, "GET / HTTP/1.1\r\n\r\n")))},
		{"tcp fin", frame(ip4(pod, out, 6, layers.IPv4DontFragment, 0, nil, tcp(40000, 443, 0x11, nil, "")))},
		{"tcp rst", frame(ip4(out, pod, 6, layers.IPv4DontFragment, 0, nil, tcp(443, 40000, 0x04, nil, "")))},
		{"tcp rst ack", frame(ip4(node, pod, 6, 0, 0, nil, tcp(6443, 50123, 0x14, nil, "")))},
		{"tcp urg ece cwr", frame(ip4(pod, node, 6, 0, 0, nil, tcp(50123, 6443, 0xf0, nil, "x")))},
		{"tcp with ip options", frame(ip4(pod, node, 6, 0, 0, options, tcp(22, 22, 0x18, nil, "SSH-2.0-x")))},
		{"tcp first fragment", frame(ip4(pod, out, 6, layers.IPv4MoreFragments, 0, nil, tcp(40000, 80, 0x10, nil, "0123456789ab")))},
		{"tcp later fragment", frame(ip4(pod, out, 6, 0, 5, nil, tcp(40000, 80, 0x10, nil, "01234567")))},
		{"udp dns query", frame(ip4(pod, dns, 17, 0, 0, nil, udp(33333, 53, dnsQuery)))},
		{"udp dns answer", frame(ip4(dns, pod, 17, 0, 0, nil, udp(53, 33333, dnsQuery)))},
		{"udp low port", frame(ip4(pod, node, 17, 0, 0, nil, udp(123, 123, "ntp")))},
		{"udp vxlan", frame(ip4(node, "192.168.1.11", 17, 0, 0, nil, udp(50000, 4789, string(packettest.Build(&layers.VXLAN{ValidIDFlag: true, VNI: 1})))))},
		{"udp with ip options", frame(ip4(pod, dns, 17, 0, 0, options, udp(33333, 53, dnsQuery)))},
		{"udp later fragment", frame(ip4(pod, dns, 17, layers.IPv4MoreFragments, 16, options, udp(53, 53, "later")))},
		{"udp port 80", frame(ip4(pod, out, 17, 0, 0, nil, udp(80, 8080, "quic?")))},
		{"udp to broadcast", ethernet(broadcast, macA, layers.EthernetTypeIPv4, ip4("0.0.0.0", "255.255.255.255", 17, 0, 0, nil, udp(68, 67, "dhcp")))},
		{"udp to zero", frame(ip4(pod, "0.0.0.0", 17, 0, 0, nil, udp(68, 67, "dhcp")))},
		{"udp mdns", ethernet(multicast, macA, layers.EthernetTypeIPv4, ip4(pod, "224.0.0.251", 17, 0, 0, nil, udp(5353, 5353, "mdns")))},
		{"sctp", frame(ip4(pod, out, 132, 0, 0, nil, sctp(9000, 80)))},
		{"icmp echo", frame(ip4(pod, out, 1, 0, 0, nil, icmp4(8, 0, 1, 2, []byte("ping"))))},
		{"icmp echo reply", frame(ip4(out, pod, 1, 0, 0, nil, icmp4(0, 0, 1, 2)))},
		{"icmp unreachable", frame(ip4(node, pod, 1, 0, 0, nil, icmp4(3, 4, 0, 1500, ip4(pod, out, 6, 0, 0, nil, tcp(40000, 80, 0, nil, "")[:4]))))},
		{"icmp later fragment", frame(ip4(pod, out, 1, layers.IPv4MoreFragments, 185, nil, []byte{8, 0, 0, 0}))},
		{"igmp", frame(ip4(pod, "224.0.0.1", 2, 0, 0, []layers.IPv4Option{{OptionType: 0x94, OptionLength: 4, OptionData: []byte{0, 0}}}, []byte{0x11, 0, 0, 0}))},
		{"gre", frame(ip4(node, out, 47, 0, 0, nil, packettest.Build(&layers.GRE{Protocol: layers.EthernetTypeIPv4})))},
		{"esp", frame(ip4(node, out, 50, 0, 0, nil, []byte{0, 0, 0, 77}))},
		{"ah", frame(ip4(node, out, 51, 0, 0, nil, []byte{6, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1}, make([]byte, 12), tcp(1, 2, 2, nil, "")))},
		{"ospf", frame(ip4(node, "224.0.0.5", 89, 0, 0, nil, []byte{2, 1, 0, 0x30}))},
		{"pim", frame(ip4(node, "224.0.0.13", 103, 0, 0, nil, []byte{0x20, 0, 0, 0}))},
		{"vrrp", frame(ip4(node, "224.0.0.18", 112, 0, 0, nil, []byte{0x31, 1, 100, 1}))},
		{"ipip", frame(ip4(node, "192.168.1.11", 4, 0, 0, nil, ip4(pod, "10.244.2.3", 6, 0, 0, nil, tcp(1000, 80, 2, nil, ""))))},
		{"header length 0", frame(damaged(0x40, ip4(pod, out, 6, 0, 0, nil, tcp(80, 80, 2, nil, ""))))},
		{"header length 60", frame(ip4(pod, out, 17, 0, 0, make([]layers.IPv4Option, 40), udp(53, 9999, "far")))},
		{"version 6 in ip", frame(damaged(0x65, ip4(pod, out, 6, 0, 0, nil, tcp(80, 80, 2, nil, ""))))},
		{"tcp long", frame(ip4(pod, out, 6, layers.IPv4DontFragment, 0, nil, tcp(40000, 8080, 0x18, nil, string(make([]byte, 1400)))))},
		{"tcp loopback", frame(ip4("127.0.0.1", "127.0.0.1", 6, 0, 0, nil, tcp(2379, 51000, 0x18, nil, "etcd")))},
	}
	return list
}

func packets6() []Packet {
	pod, node, dns, linkLocal, all := "2001:db8:42::2", "2001:db8::10", "fd00:10:96::a", "fe80::1", "ff02::1"
	frame := func(payload []byte) []byte { return ethernet(macB, macA, layers.EthernetTypeIPv6, payload) }
	hopByHop := func(next layers.IPProtocol) []byte {
		h := &layers.IPv6HopByHop{Options: []*layers.IPv6HopByHopOption{{OptionType: 5, OptionData: []byte{0, 0}}, {OptionType: 1}}} // router alert, padding
		h.NextHeader = next
		return packettest.Build(h)
	}
	return []Packet{
		{"tcp6 syn", frame(ip6(pod, node, 6, tcp(40000, 443, 0x02, nil, "")))},
		{"tcp6 rst", frame(ip6(node, pod, 6, tcp(443, 40000, 0x14, nil, "")))},
		{"tcp6 push to 80", frame(ip6(pod, node, 6, tcp(50000, 80, 0x18, nil, "GET /")))},
		{"udp6 dns", frame(ip6(pod, dns, 17, udp(5555, 53, dnsQuery)))},
		{"udp6 dns answer", frame(ip6(dns, pod, 17, udp(53, 5555, dnsQuery)))},
		{"udp6 high", frame(ip6(linkLocal, all, 17, udp(546, 547, "solicit")))},
		{"sctp6", frame(ip6(pod, node, 132, sctp(80, 9000)))},
		{"icmp6 echo", frame(ip6(pod, node, 58, icmp6(128, 0, []byte{0, 1, 0, 1})))},
		{"icmp6 neighbour", ethernet([]byte{0x33, 0x33, 0, 0, 0, 1}, macA, layers.EthernetTypeIPv6, ip6(linkLocal, all, 58, icmp6(135, 0, make([]byte, 20))))},
		{"icmp6 too big", frame(ip6(node, pod, 58, icmp6(2, 0, []byte{0, 0, 5, 0}, ip6(pod, dns, 17, udp(1, 2, "")[:4]))))},
		{"icmp6 unreachable", frame(ip6(node, pod, 58, icmp6(1, 4, make([]byte, 4))))},
		{"ip6 hop by hop tcp", frame(ip6(pod, node, 0, hopByHop(6), tcp(40000, 80, 2, nil, "")))},
		{"ip6 routing udp", frame(ip6(pod, node, 43, []byte{17, 0, 0, 0, 0, 0, 0, 0}, udp(53, 53, "x")))},
		{"ip6 options icmp", frame(ip6(pod, node, 60, hopByHop(58), icmp6(128, 0)))},
		{"ip6 first fragment tcp", frame(ip6(pod, node, 44, packettest.FragmentHeader(6, 0, true, 99), tcp(40000, 80, 2, nil, "")))},
		{"ip6 later fragment udp", frame(ip6(pod, node, 44, packettest.FragmentHeader(17, 0x5a8, true, 99), []byte("rest of it")))},
		{"ip6 fragment icmp", frame(ip6(pod, node, 44, packettest.FragmentHeader(58, 0, false, 99), icmp6(128, 0)))},
		{"ip6 no next", frame(ip6(pod, node, 59))},
		{"ip6 esp", frame(ip6(pod, node, 50, []byte{0, 0, 0, 8}))},
		{"ip6 ah", frame(ip6(pod, node, 51, []byte{6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2}, make([]byte, 12)))},
		{"ip6 pim", frame(ip6(linkLocal, "ff02::d", 103, []byte{0x20, 0, 0, 0}))},
		{"ip6 loopback", frame(ip6("::1", "::1", 6, tcp(2379, 2380, 0x10, nil, "")))},
		{"ip6 mapped", frame(ip6("::ffff:10.244.1.2", "::ffff:1.2.3.4", 17, udp(53, 53, "")))},
	}
}

func packetsLink() []Packet {
	pod, node, pod6 := "10.244.1.2", "192.168.1.10", "2001:db8:42::2"
	syn := tcp(40000, 80, 2, nil, "")
	inner := ip4(pod, node, 6, 0, 0, nil, syn)
	inner6 := ip6(pod6, "2001:db8::10", 17, udp(53, 53, "q"))
	query := ip4(pod, node, 17, 0, 0, nil, udp(7, 53, dnsQuery))
	return []Packet{
		{"arp request", ethernet(broadcast, macA, layers.EthernetTypeARP, arp(1, pod, node))},
		{"arp reply", ethernet(macA, macB, layers.EthernetTypeARP, arp(2, node, pod), make([]byte, 18))},
		{"rarp", ethernet(broadcast, macA, layers.EthernetType(0x8035), arp(3, pod, node))},
		{"vlan 5 tcp", ethernet(macB, macA, layers.EthernetTypeDot1Q, tag(0, 5, layers.EthernetTypeIPv4), inner)},
		{"vlan 100 priority udp6", ethernet(macB, macA, layers.EthernetTypeDot1Q, tag(7, 100, layers.EthernetTypeIPv6), inner6)},
		{"vlan 0 dns", ethernet(macB, macA, layers.EthernetTypeDot1Q, tag(0, 0, layers.EthernetTypeIPv4), query)},
		{"vlan arp", ethernet(broadcast, macA, layers.EthernetTypeDot1Q, tag(0, 5, layers.EthernetTypeARP), arp(1, pod, node))},
		{"qinq", ethernet(macB, macA, layers.EthernetTypeQinQ, tag(0, 300, layers.EthernetTypeDot1Q), tag(0, 5, layers.EthernetTypeIPv4), inner)},
		{"qinq same type", ethernet(macB, macA, layers.EthernetTypeDot1Q, tag(0, 5, layers.EthernetTypeDot1Q), tag(0, 300, layers.EthernetTypeIPv6), inner6)},
		{"vlan 9100", ethernet(macB, macA, 0x9100, tag(0, 7, layers.EthernetTypeIPv4), query)},
		{"mpls", ethernet(macB, macA, layers.EthernetTypeMPLSUnicast, label(100000, true), inner)},
		{"mpls two labels", ethernet(macB, macA, layers.EthernetTypeMPLSUnicast, label(16, false), label(1024, true), inner)},
		{"mpls ip6", ethernet(macB, macA, layers.EthernetTypeMPLSUnicast, label(5, true), inner6)},
		{"vlan mpls", ethernet(macB, macA, layers.EthernetTypeDot1Q, tag(0, 5, layers.EthernetTypeMPLSUnicast), label(5, true), inner)},
		{"stp", ethernet([]byte{1, 0x80, 0xc2, 0, 0, 0}, macA, 38, []byte{0x42, 0x42, 3, 0, 0, 0, 0, 0}, make([]byte, 38))},
		{"netbeui", ethernet(broadcast, macA, 47, []byte{0xf0, 0xf0, 3}, make([]byte, 44))},
		{"iso", ethernet(multicast, macA, 40, []byte{0xfe, 0xfe, 3, 0x83}, make([]byte, 36))},
		{"lldp", ethernet([]byte{1, 0x80, 0xc2, 0, 0, 0x0e}, macA, 0x88cc, []byte{2, 7, 4}, macA, []byte{0, 0})},
		{"lat", ethernet(macB, macA, 0x6004, []byte{1, 2, 3, 4})},
		{"loopback type", ethernet(macA, macA, 0x9000, make([]byte, 46))},
		{"pppoe discovery", ethernet(broadcast, macA, 0x8863, []byte{0x11, 9, 0, 0, 0, 0})},
		{"header only", ethernet(macB, macA, layers.EthernetTypeIPv4)},
		{"zeros", make([]byte, 60)},
	}
}
