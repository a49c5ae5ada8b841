// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet/packettest"
)

// TestFramesSayWhatIsBeyondTheirHeaders: what the headers of IP, TCP, UDP and ICMP do not say is not left a bare number.
func TestFramesSayWhatIsBeyondTheirHeaders(t *testing.T) {
	ip := func(proto layers.IPProtocol) *layers.IPv4 {
		return packettest.IPv4(netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), proto)
	}
	ip6 := packettest.IPv6(netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1:ff00:9"), layers.IPProtocolICMPv6)
	ip6.HopLimit = 255
	for _, tt := range []struct {
		name  string
		ether layers.EthernetType
		all   []gopacket.SerializableLayer
		want  string
	}{
		{"GRE", layers.EthernetTypeIPv4, []gopacket.SerializableLayer{ip(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4}},
			"IP 10.9.0.1 > 10.9.0.2: GRE, length 4, GRE, carries IPv4"},
		{"IGMP", layers.EthernetTypeIPv4, []gopacket.SerializableLayer{ip(layers.IPProtocolIGMP), gopacket.Payload{0x17, 0, 0, 0, 224, 0, 0, 251}},
			"IP 10.9.0.1 > 10.9.0.2: IGMP, length 8, IGMPv2 Leave Group 224.0.0.251"},
		{"an unassigned protocol", layers.EthernetTypeIPv4, []gopacket.SerializableLayer{ip(253), gopacket.Payload{1, 2}}, "IP 10.9.0.1 > 10.9.0.2: protocol 253, length 2"},
		{"MPLS", layers.EthernetTypeMPLSUnicast, []gopacket.SerializableLayer{&layers.MPLS{Label: 77, StackBottom: true, TTL: 63}, ip(253)}, "MPLS, label 77, TTL 63"},
		{"an unknown EtherType", 0x9999, []gopacket.SerializableLayer{gopacket.Payload{1, 2}}, "ethertype 0x9999, length 60"},
		{"neighbour discovery", layers.EthernetTypeIPv6, []gopacket.SerializableLayer{ip6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)},
			&layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP("fe80::9")}}, "IP6 fe80::1 > ff02::1:ff00:9: ICMPV6 neighbor solicitation, who has fe80::9, length 24"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := packettest.Build(append([]gopacket.SerializableLayer{packettest.Ethernet(tt.ether)}, tt.all...)...)
			e, err := Decode(RawFrame{Length: uint32(len(b)), Ethernet: true, Data: b}.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Body.Summary(); got != tt.want {
				t.Errorf("says  %s\nwant %s", got, tt.want)
			}
			if lines := e.Body.(Layered).Lines(); tt.ether != 0x9999 && !strings.Contains(strings.Join(lines, "\n"), ": ") {
				t.Errorf("its layers: %q", lines)
			}
		})
	}
}
