// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"strings"
	"testing"

	"ktrace/decoder/event"
)

func TestTheRuleThatSplitsAFlowIsFound(t *testing.T) {
	const filter = `*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -j ACCEPT
-A FORWARD -j DROP
COMMIT
`
	pod, server := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.9.0.2")
	request := Packet{Family: IPv4, Proto: protoTCP, Src: pod, Sport: 40000, Dst: server, Dport: 80, Ports: true, Flags: 2, FlagsKnown: true, In: "veth1", Out: "uplink"}
	answer := Packet{Family: IPv4, Proto: protoTCP, Src: server, Sport: 80, Dst: pod, Dport: 40000, Ports: true, Flags: 0x12, FlagsKnown: true, In: "uplink", Out: "veth1"}
	icmp := Packet{Family: IPv4, Proto: protoICMP, Src: server, Dst: pod, In: "uplink", Out: "veth1"}
	for _, tt := range []struct {
		name, raw  string
		packet     Packet
		quoted     *Packet
		of, passes string
		zone       uint16
	}{
		{"none", "", answer, nil, "", "", 0},
		{"one for another port", "-A PREROUTING -p tcp -m tcp --dport 81 -j CT --notrack", answer, nil, "", "", 0},
		{"requests", "-A PREROUTING -p tcp -m tcp --dport 80 -j CT --notrack", answer, nil, event.TrackedOther, "ESTABLISHED", 0},
		{"answers", "-A PREROUTING -p tcp -m tcp --sport 80 -j CT --notrack", answer, nil, event.TrackedPacket, "ESTABLISHED", 0},
		{"the request itself", "-A PREROUTING -p tcp -m tcp --dport 80 -j NOTRACK", request, nil, event.TrackedPacket, "NEW", 0},
		{"what an error is about", "-A PREROUTING -p tcp -m tcp --dport 80 -j CT --notrack", icmp, &request, event.TrackedQuoted, "RELATED", 0},
		{"a zone for one device", "-A PREROUTING -i veth1 -j CT --zone 5", answer, nil, event.TrackedOther, "ESTABLISHED", 5},
		{"a zone for both", "-A PREROUTING -j CT --zone 5", answer, nil, "", "", 0},
		{"a zone each", "-A PREROUTING -i veth1 -j CT --zone 5\n-A PREROUTING -i uplink -j CT --zone 6", answer, nil, event.TrackedPacket, "ESTABLISHED", 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs, err := ParseSave(strings.NewReader("*raw\n:PREROUTING ACCEPT [0:0]\n"+tt.raw+"\nCOMMIT\n"+filter), IptablesNFT, IPv4)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := rs.Tracking(Case{Packet: tt.packet, Hooks: []Hook{Prerouting, Forward, Postrouting}}, tt.quoted)
			if got == nil {
				got = &event.Tracking{}
			}
			zone := uint16(0)
			if got.Zone != nil {
				zone = *got.Zone
			}
			if got.Of != tt.of || got.Passes != tt.passes || zone != tt.zone {
				t.Errorf("%q passes as %q, zone %d; want %q, %q, %d", got.Of, got.Passes, zone, tt.of, tt.passes, tt.zone)
			}
		})
	}
}
