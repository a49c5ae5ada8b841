// SPDX-License-Identifier: Apache-2.0

package layers

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet/packettest"
)

const (
	ethernetARP, ethernetIPv4, ethernetIPv6, ethernetMPLS = 0x0806, 0x0800, 0x86dd, 0x8847
)

var (
	src4, dst4 = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	src6, dst6 = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
)

func v4(proto layers.IPProtocol) *layers.IPv4 { return packettest.IPv4(src4, dst4, proto) }

// sample is a packet and what is to be said of it.
type sample struct {
	name  string
	ether uint16
	bytes []byte
	text  string // of Text
	line  string // what a line of Lines has
}

func samples() []sample {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	arp := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: mac, SourceProtAddress: []byte{10, 9, 0, 1}, DstHwAddress: mac, DstProtAddress: []byte{10, 9, 0, 2}}
	asks := *arp
	asks.Operation = layers.ARPRequest
	offer := &layers.DHCPv4{Operation: layers.DHCPOpReply, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, ClientHWAddr: mac, YourClientIP: net.IP{10, 9, 0, 77},
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(layers.DHCPMsgTypeOffer)})}}
	query := &layers.DNS{ID: 7, RD: true, Questions: []layers.DNSQuestion{{Name: []byte("web.example.org"), Type: layers.DNSTypeA, Class: layers.DNSClassIN}}}
	hostile := &layers.DNS{ID: 7, Questions: []layers.DNSQuestion{{Name: []byte("a\x1b[2J b"), Type: layers.DNSTypeA, Class: layers.DNSClassIN}}}
	target := layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}
	icmp6 := func(kind uint8, l gopacket.SerializableLayer) []byte {
		return packettest.Build(packettest.IPv6(src6, dst6, layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}, l)
	}
	udp := func(port layers.UDPPort, l gopacket.SerializableLayer) []byte {
		return packettest.Build(v4(layers.IPProtocolUDP), &layers.UDP{SrcPort: port, DstPort: port}, l)
	}
	return []sample{
		{"ARP reply", ethernetARP, packettest.Build(arp), "ARP, Reply 10.9.0.1 is-at 02:00:00:00:00:01", "ARP: "},
		{"ARP request", ethernetARP, packettest.Build(&asks), "ARP, Request who-has 10.9.0.2 tell 10.9.0.1", "ARP: "},
		{"neighbour solicitation", ethernetIPv6, icmp6(135, &layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP("fd00::9")}), "neighbor solicitation, who has fd00::9", "TargetAddress=fd00::9"},
		{"neighbour advertisement", ethernetIPv6, icmp6(136, &layers.ICMPv6NeighborAdvertisement{TargetAddress: net.ParseIP("fd00::9"), Options: target}),
			"neighbor advertisement, fd00::9 is at 02:00:00:00:00:01", "ICMPv6NeighborAdvertisement: "},
		{"router advertisement", ethernetIPv6, icmp6(134, &layers.ICMPv6RouterAdvertisement{RouterLifetime: 1800}), "router advertisement, lifetime 1800 s", "RouterLifetime=1800"},
		{"DHCP", ethernetIPv4, udp(67, offer), "DHCP offer of 02:00:00:00:00:01, address 10.9.0.77", "YourClientIP=10.9.0.77"},
		{"GRE", ethernetIPv4, packettest.Build(v4(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4}), "GRE, carries IPv4", "GRE: "},
		{"ESP", ethernetIPv4, packettest.Build(v4(layers.IPProtocolESP), gopacket.Payload{0, 0, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4}), "ESP, SPI 0x00001234, seq 9", "SPI=4660"},
		{"VRRP", ethernetIPv4, packettest.Build(v4(layers.IPProtocolVRRP), gopacket.Payload{0x21, 51, 100, 1, 0, 1, 0, 0, 10, 9, 0, 250}),
			"VRRPv2, router 51, priority 100, addresses [10.9.0.250]", "VirtualRtrID=51"},
		{"IGMP", ethernetIPv4, packettest.Build(v4(layers.IPProtocolIGMP), gopacket.Payload{0x16, 0, 0, 0, 224, 0, 0, 251}), "IGMPv2 Membership Report 224.0.0.251", "GroupAddress=224.0.0.251"},
		{"MPLS", ethernetMPLS, packettest.Build(&layers.MPLS{Label: 77, StackBottom: true, TTL: 63}, v4(layers.IPProtocolNoNextHeader)), "MPLS, label 77, TTL 63", "Label=77"},
		{"DNS", ethernetIPv4, udp(53, query), "DNS 7 A? web.example.org", "DNS: "},
		{"a hostile name", ethernetIPv4, udp(53, hostile), `DNS 7 A? "a\x1b[2J b"`, "DNS: "},
		{"SCTP", ethernetIPv4, packettest.Build(v4(layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 1, DstPort: 2, VerificationTag: 0xbeef}), "SCTP, tag 0x0000beef", "VerificationTag=48879"},
		{"TCP, whose header others print", ethernetIPv4, packettest.Build(v4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 4000, DstPort: 80, SYN: true}), "", "SYN=true"},
		{"nothing known", ethernetIPv4, packettest.Build(v4(253), gopacket.Payload("hello")), "", "IPv4: "},
		{"no IP at all", ethernetIPv4, packettest.Build(v4(253))[:3], "", "cut off or malformed"},
	}
}

func TestTextAndLines(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			if got := Text(s.ether, s.bytes); got != s.text {
				t.Errorf("says %q, want %q", got, s.text)
			}
			lines := strings.Join(Lines(s.ether, s.bytes), "\n")
			if !strings.Contains(lines, s.line) || strings.Contains(lines, "Contents=") || strings.Contains(lines, "Payload=") {
				t.Errorf("lines %q, want %q in them, without bytes", lines, s.line)
			}
		})
	}
}

// TestEmptiedTypesReadAsUnknownOnes: what gopacket knows no name for ends a packet, at its begin and within it, whether the
// entry is empty or not.
func TestEmptiedTypesReadAsUnknownOnes(t *testing.T) {
	const unnamed, ethernetVLAN, ethernetPPPoE = 0x9999, 0x8100, 0x8864
	packets := []sample{
		{name: "a frame", ether: unnamed, bytes: []byte("hello")},
		{name: "in a VLAN", ether: ethernetVLAN, bytes: []byte{0, 7, 0x99, 0x99, 'h', 'e', 'l', 'l', 'o'}},
		{name: "in GRE", ether: ethernetIPv4, bytes: packettest.Build(v4(layers.IPProtocolGRE), &layers.GRE{Protocol: unnamed}, gopacket.Payload("hello"))},
		{name: "in PPPoE", ether: ethernetPPPoE, bytes: []byte{0x11, 0, 0, 1, 0, 8, 0x99, 0x99, 'h', 'e', 'l', 'l', 'o', '!'}},
		{name: "IPv4 in PPPoE", ether: ethernetPPPoE, bytes: append([]byte{0x11, 0, 0, 1, 0, 22, 0, 0x21}, packettest.Build(v4(253))...)},
	}
	said := func() (all []string) {
		for _, p := range append(packets, samples()...) {
			lines := strings.ReplaceAll(strings.Join(Lines(p.ether, p.bytes), "; "), unknown+"EthernetType", "")
			all = append(all, p.name+": "+Text(p.ether, p.bytes)+"; "+strings.ReplaceAll(lines, unknown+"PPPType", ""))
		}
		return append(all, EtherType(unnamed), EtherType(ethernetVLAN))
	}
	full := said()
	EmptyUnknownTypes()
	for i, empty := range said() {
		if empty != full[i] {
			t.Errorf("%q, was %q", empty, full[i])
		}
	}
}

// FuzzLayers: gopacket's decoders panic on some input, and what they make of it must stay small.
func FuzzLayers(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.ether, s.bytes)
	}
	f.Fuzz(func(t *testing.T, ether uint16, b []byte) {
		all := append(Lines(ether, b), Text(ether, b))
		if len(all) > maxLayers+1 {
			t.Errorf("%d lines", len(all))
		}
		for _, line := range all {
			if len(line) > maxLine+len(" …") {
				t.Errorf("%d bytes in a line", len(line))
			}
		}
	})
}
