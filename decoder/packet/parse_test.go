// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet/packettest"
)

func TestParseIPv6BehindExtensionHeaders(t *testing.T) {
	ip := packettest.IPv6(netip.MustParseAddr("::1"), netip.MustParseAddr("::2"), layers.IPProtocolIPv6Destination)
	first := packettest.FragmentHeader(layers.IPProtocolUDP, 0, true, 9)
	b := packettest.Build(ip, packettest.Extension(layers.IPProtocolIPv6Fragment, 0), first, &layers.UDP{SrcPort: 53, DstPort: 4096}, gopacket.Payload("data"))
	p := ParseIP(b)
	if p == nil || p.Proto != "udp" || p.Flow().String() != "[::1]:53 > [::2]:4096" || p.ID != 9 || string(p.Transport()) != "data" {
		t.Errorf("got %+v", p)
	}
}
