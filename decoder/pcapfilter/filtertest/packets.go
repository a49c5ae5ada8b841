// Package filtertest holds what the tests of both halves of the filter share: packets, expressions
// and libpcap as oracle. It is for tests only.
package filtertest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// Packet is a frame of the corpus, with a name that test output can show.
type Packet struct {
	Name string
	Data []byte
}

// EtherTypes and IP protocol numbers of the corpus.
const (
	typeIP   = 0x0800
	typeARP  = 0x0806
	typeRARP = 0x8035
	typeVLAN = 0x8100
	typeIP6  = 0x86dd
	typeMPLS = 0x8847
	typeQinQ = 0x88a8
)

var (
	macA      = []byte{0x02, 0, 0, 0, 0, 1}
	macB      = []byte{0x0a, 0x58, 0x0a, 0xf4, 1, 2}
	broadcast = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	multicast = []byte{0x01, 0, 0x5e, 0, 0, 0xfb}
)

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func be32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func ethernet(dst, src []byte, etherType int, payload ...[]byte) []byte {
	return join(dst, src, be16(etherType), join(payload...))
}

// tag is a VLAN tag or MPLS-like shim after the EtherType that announced it.
func tag(id, next int) []byte { return join(be16(id), be16(next)) }

func label(value int, bottom bool) []byte {
	s := 0
	if bottom {
		s = 1
	}
	return be32(value<<12 | s<<8 | 64)
}

// ip4 is an IPv4 header, whose options fill up to its header length, and its payload.
func ip4(src, dst string, proto, fragment int, options []byte, payload ...[]byte) []byte {
	body := join(payload...)
	header := 20 + len(options)
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	return join([]byte{byte(0x40 | header/4), 0}, be16(header+len(body)), be16(0x1234), be16(fragment),
		[]byte{63, byte(proto)}, be16(0), s[:], d[:], options, body)
}

func ip6(src, dst string, next int, payload ...[]byte) []byte {
	body := join(payload...)
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	return join(be32(0x60012345), be16(len(body)), []byte{byte(next), 64}, s[:], d[:], body)
}

func ports(src, dst int) []byte { return join(be16(src), be16(dst)) }

func tcp(src, dst, flags int, options []byte, payload string) []byte {
	return join(ports(src, dst), be32(1000), be32(2000), []byte{byte((20 + len(options)) / 4 << 4), byte(flags)},
		be16(64240), be16(0xabcd), be16(0), options, []byte(payload))
}

func udp(src, dst int, payload string) []byte {
	return join(ports(src, dst), be16(8+len(payload)), be16(0x1111), []byte(payload))
}

func sctp(src, dst int) []byte { return join(ports(src, dst), be32(7), be32(8), []byte{1, 0, 0, 20}) }

func arp(op int, src, dst string) []byte {
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	return join(be16(1), be16(typeIP), []byte{6, 4}, be16(op), macA, s[:], macB, d[:])
}

const dnsQuery = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"

// Packets returns the corpus: every kind of packet that the language can tell apart, some of them cut at every
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
	options := []byte{7, 7, 4, 0, 0, 0, 0, 0}
	mss := []byte{2, 4, 5, 180, 1, 3, 3, 7}
	frame := func(payload []byte) []byte { return ethernet(macB, macA, typeIP, payload) }
	list := []Packet{
		{"tcp syn", frame(ip4(pod, out, 6, 0x4000, nil, tcp(40000, 80, 0x02, mss, "")))},
		{"tcp syn ack", frame(ip4(out, pod, 6, 0x4000, nil, tcp(80, 40000, 0x12, mss, "")))},
		{"tcp ack", frame(ip4(pod, out, 6, 0x4000, nil, tcp(40000, 80, 0x10, nil, "")))},
		{"tcp push", frame(ip4(pod, out, 6, 0x4000, nil, tcp(40000, 80, 0x18, nil, "GET / HTTP/1.1\r\n\r\n")))},
		{"tcp fin", frame(ip4(pod, out, 6, 0x4000, nil, tcp(40000, 443, 0x11, nil, "")))},
		{"tcp rst", frame(ip4(out, pod, 6, 0x4000, nil, tcp(443, 40000, 0x04, nil, "")))},
		{"tcp rst ack", frame(ip4(node, pod, 6, 0, nil, tcp(6443, 50123, 0x14, nil, "")))},
		{"tcp urg ece cwr", frame(ip4(pod, node, 6, 0, nil, tcp(50123, 6443, 0xf0, nil, "x")))},
		{"tcp with ip options", frame(ip4(pod, node, 6, 0, options, tcp(22, 22, 0x18, nil, "SSH-2.0-x")))},
		{"tcp first fragment", frame(ip4(pod, out, 6, 0x2000, nil, tcp(40000, 80, 0x10, nil, "0123456789ab")))},
		{"tcp later fragment", frame(ip4(pod, out, 6, 0x0005, nil, tcp(40000, 80, 0x10, nil, "01234567")))},
		{"udp dns query", frame(ip4(pod, dns, 17, 0, nil, udp(33333, 53, dnsQuery)))},
		{"udp dns answer", frame(ip4(dns, pod, 17, 0, nil, udp(53, 33333, dnsQuery)))},
		{"udp low port", frame(ip4(pod, node, 17, 0, nil, udp(123, 123, "ntp")))},
		{"udp vxlan", frame(ip4(node, "192.168.1.11", 17, 0, nil, udp(50000, 4789, "\x08\x00\x00\x00\x00\x00\x01\x00")))},
		{"udp with ip options", frame(ip4(pod, dns, 17, 0, options, udp(33333, 53, dnsQuery)))},
		{"udp later fragment", frame(ip4(pod, dns, 17, 0x2010, options, udp(53, 53, "later")))},
		{"udp port 80", frame(ip4(pod, out, 17, 0, nil, udp(80, 8080, "quic?")))},
		{"udp to broadcast", ethernet(broadcast, macA, typeIP, ip4("0.0.0.0", "255.255.255.255", 17, 0, nil, udp(68, 67, "dhcp")))},
		{"udp to zero", frame(ip4(pod, "0.0.0.0", 17, 0, nil, udp(68, 67, "dhcp")))},
		{"udp mdns", ethernet(multicast, macA, typeIP, ip4(pod, "224.0.0.251", 17, 0, nil, udp(5353, 5353, "mdns")))},
		{"sctp", frame(ip4(pod, out, 132, 0, nil, sctp(9000, 80)))},
		{"icmp echo", frame(ip4(pod, out, 1, 0, nil, []byte{8, 0, 0, 0, 0, 1, 0, 2}, []byte("ping")))},
		{"icmp echo reply", frame(ip4(out, pod, 1, 0, nil, []byte{0, 0, 0, 0, 0, 1, 0, 2}))},
		{"icmp unreachable", frame(ip4(node, pod, 1, 0, nil, []byte{3, 4, 0, 0, 0, 0, 5, 0xdc}, ip4(pod, out, 6, 0, nil, ports(40000, 80))))},
		{"icmp later fragment", frame(ip4(pod, out, 1, 0x2000|185, nil, []byte{8, 0, 0, 0}))},
		{"igmp", frame(ip4(pod, "224.0.0.1", 2, 0, []byte{0x94, 4, 0, 0}, []byte{0x11, 0, 0, 0}))},
		{"gre", frame(ip4(node, out, 47, 0, nil, []byte{0, 0, 8, 0}))},
		{"esp", frame(ip4(node, out, 50, 0, nil, be32(77)))},
		{"ah", frame(ip4(node, out, 51, 0, nil, []byte{6, 4, 0, 0}, be32(9), be32(1), make([]byte, 12), tcp(1, 2, 2, nil, "")))},
		{"ospf", frame(ip4(node, "224.0.0.5", 89, 0, nil, be32(0x02010030)))},
		{"pim", frame(ip4(node, "224.0.0.13", 103, 0, nil, be32(0x20000000)))},
		{"vrrp", frame(ip4(node, "224.0.0.18", 112, 0, nil, be32(0x31016401)))},
		{"ipip", frame(ip4(node, "192.168.1.11", 4, 0, nil, ip4(pod, "10.244.2.3", 6, 0, nil, tcp(1000, 80, 2, nil, ""))))},
		{"header length 0", frame(join([]byte{0x40}, ip4(pod, out, 6, 0, nil, tcp(80, 80, 2, nil, ""))[1:]))},
		{"header length 60", frame(ip4(pod, out, 17, 0, make([]byte, 40), udp(53, 9999, "far")))},
		{"version 6 in ip", frame(join([]byte{0x65}, ip4(pod, out, 6, 0, nil, tcp(80, 80, 2, nil, ""))[1:]))},
		{"tcp long", frame(ip4(pod, out, 6, 0x4000, nil, tcp(40000, 8080, 0x18, nil, string(make([]byte, 1400)))))},
		{"tcp loopback", frame(ip4("127.0.0.1", "127.0.0.1", 6, 0, nil, tcp(2379, 51000, 0x18, nil, "etcd")))},
	}
	return list
}

func packets6() []Packet {
	pod, node, dns, linkLocal, all := "2001:db8:42::2", "2001:db8::10", "fd00:10:96::a", "fe80::1", "ff02::1"
	frame := func(payload []byte) []byte { return ethernet(macB, macA, typeIP6, payload) }
	hopByHop := func(next int) []byte { return []byte{byte(next), 0, 5, 2, 0, 0, 1, 0} }
	fragment := func(next, off int) []byte { return join([]byte{byte(next), 0}, be16(off), be32(99)) }
	return []Packet{
		{"tcp6 syn", frame(ip6(pod, node, 6, tcp(40000, 443, 0x02, nil, "")))},
		{"tcp6 rst", frame(ip6(node, pod, 6, tcp(443, 40000, 0x14, nil, "")))},
		{"tcp6 push to 80", frame(ip6(pod, node, 6, tcp(50000, 80, 0x18, nil, "GET /")))},
		{"udp6 dns", frame(ip6(pod, dns, 17, udp(5555, 53, dnsQuery)))},
		{"udp6 dns answer", frame(ip6(dns, pod, 17, udp(53, 5555, dnsQuery)))},
		{"udp6 high", frame(ip6(linkLocal, all, 17, udp(546, 547, "solicit")))},
		{"sctp6", frame(ip6(pod, node, 132, sctp(80, 9000)))},
		{"icmp6 echo", frame(ip6(pod, node, 58, []byte{128, 0, 0, 0, 0, 1, 0, 1}))},
		{"icmp6 neighbour", ethernet([]byte{0x33, 0x33, 0, 0, 0, 1}, macA, typeIP6, ip6(linkLocal, all, 58, []byte{135, 0, 0, 0}, be32(0), make([]byte, 16)))},
		{"icmp6 too big", frame(ip6(node, pod, 58, []byte{2, 0, 0, 0}, be32(1280), ip6(pod, dns, 17, ports(1, 2))))},
		{"icmp6 unreachable", frame(ip6(node, pod, 58, []byte{1, 4, 0, 0}, be32(0)))},
		{"ip6 hop by hop tcp", frame(ip6(pod, node, 0, hopByHop(6), tcp(40000, 80, 2, nil, "")))},
		{"ip6 routing udp", frame(ip6(pod, node, 43, []byte{17, 0, 0, 0, 0, 0, 0, 0}, udp(53, 53, "x")))},
		{"ip6 options icmp", frame(ip6(pod, node, 60, hopByHop(58), []byte{128, 0, 0, 0}))},
		{"ip6 first fragment tcp", frame(ip6(pod, node, 44, fragment(6, 1), tcp(40000, 80, 2, nil, "")))},
		{"ip6 later fragment udp", frame(ip6(pod, node, 44, fragment(17, 0x5a9), []byte("rest of it")))},
		{"ip6 fragment icmp", frame(ip6(pod, node, 44, fragment(58, 0), []byte{128, 0, 0, 0}))},
		{"ip6 no next", frame(ip6(pod, node, 59))},
		{"ip6 esp", frame(ip6(pod, node, 50, be32(8)))},
		{"ip6 ah", frame(ip6(pod, node, 51, []byte{6, 4, 0, 0}, be32(1), be32(2), make([]byte, 12)))},
		{"ip6 pim", frame(ip6(linkLocal, "ff02::d", 103, be32(0x20000000)))},
		{"ip6 loopback", frame(ip6("::1", "::1", 6, tcp(2379, 2380, 0x10, nil, "")))},
		{"ip6 mapped", frame(ip6("::ffff:10.244.1.2", "::ffff:1.2.3.4", 17, udp(53, 53, "")))},
	}
}

func packetsLink() []Packet {
	pod, node, pod6 := "10.244.1.2", "192.168.1.10", "2001:db8:42::2"
	syn := tcp(40000, 80, 2, nil, "")
	inner := ip4(pod, node, 6, 0, nil, syn)
	inner6 := ip6(pod6, "2001:db8::10", 17, udp(53, 53, "q"))
	query := ip4(pod, node, 17, 0, nil, udp(7, 53, dnsQuery))
	return []Packet{
		{"arp request", ethernet(broadcast, macA, typeARP, arp(1, pod, node))},
		{"arp reply", ethernet(macA, macB, typeARP, arp(2, node, pod), make([]byte, 18))},
		{"rarp", ethernet(broadcast, macA, typeRARP, arp(3, pod, node))},
		{"vlan 5 tcp", ethernet(macB, macA, typeVLAN, tag(5, typeIP), inner)},
		{"vlan 100 priority udp6", ethernet(macB, macA, typeVLAN, tag(0xe064, typeIP6), inner6)},
		{"vlan 0 dns", ethernet(macB, macA, typeVLAN, tag(0, typeIP), query)},
		{"vlan arp", ethernet(broadcast, macA, typeVLAN, tag(5, typeARP), arp(1, pod, node))},
		{"qinq", ethernet(macB, macA, typeQinQ, tag(300, typeVLAN), tag(5, typeIP), inner)},
		{"qinq same type", ethernet(macB, macA, typeVLAN, tag(5, typeVLAN), tag(300, typeIP6), inner6)},
		{"vlan 9100", ethernet(macB, macA, 0x9100, tag(7, typeIP), query)},
		{"mpls", ethernet(macB, macA, typeMPLS, label(100000, true), inner)},
		{"mpls two labels", ethernet(macB, macA, typeMPLS, label(16, false), label(1024, true), inner)},
		{"mpls ip6", ethernet(macB, macA, typeMPLS, label(5, true), inner6)},
		{"vlan mpls", ethernet(macB, macA, typeVLAN, tag(5, typeMPLS), label(5, true), inner)},
		{"stp", ethernet([]byte{1, 0x80, 0xc2, 0, 0, 0}, macA, 38, []byte{0x42, 0x42, 3, 0, 0, 0, 0, 0}, make([]byte, 38))},
		{"netbeui", ethernet(broadcast, macA, 47, []byte{0xf0, 0xf0, 3}, make([]byte, 44))},
		{"iso", ethernet(multicast, macA, 40, []byte{0xfe, 0xfe, 3, 0x83}, make([]byte, 36))},
		{"lldp", ethernet([]byte{1, 0x80, 0xc2, 0, 0, 0x0e}, macA, 0x88cc, []byte{2, 7, 4}, macA, []byte{0, 0})},
		{"lat", ethernet(macB, macA, 0x6004, []byte{1, 2, 3, 4})},
		{"loopback type", ethernet(macA, macA, 0x9000, make([]byte, 46))},
		{"pppoe discovery", ethernet(broadcast, macA, 0x8863, []byte{0x11, 9, 0, 0, 0, 0})},
		{"header only", ethernet(macB, macA, typeIP)},
		{"zeros", make([]byte, 60)},
	}
}
