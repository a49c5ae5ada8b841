// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

func TestWhoAsksAndWhoIsAsked(t *testing.T) {
	const client, server = "10.244.0.2:40000", "10.96.0.10:53"
	translated := &Conntrack{Original: eventtest.Flow(client, server), Reply: eventtest.Flow("10.9.0.3:5353", "10.9.0.1:40001")}
	for _, c := range []struct {
		name             string
		e                Event
		clients, servers string
	}{
		{"a query", Event{Packet: eventtest.Packet("udp", client, server, ""), Body: Drop{}}, "[10.244.0.2]", "[10.96.0.10:53]"},
		{"its answer", Event{Packet: eventtest.Packet("udp", server, client, ""), Body: Drop{}}, "[10.244.0.2]", "[10.96.0.10:53]"},
		{"translated", Event{Packet: eventtest.Packet("udp", client, "10.9.0.3:5353", ""), Body: Drop{Conntrack: translated}},
			"[10.244.0.2 10.9.0.1]", "[10.96.0.10:53 10.9.0.3:5353]"},
		{"a SYN from a low port to a high one", Event{Packet: eventtest.Packet("tcp", "10.0.0.1:700", "10.0.0.2:50051", "S"), Body: Drop{}}, "[10.0.0.1]", "[10.0.0.2:50051]"},
		{"its answer", Event{Packet: eventtest.Packet("tcp", "10.0.0.2:50051", "10.0.0.1:700", "S."), Body: Drop{}}, "[10.0.0.1]", "[10.0.0.2:50051]"},
		{"between high ports", Event{Packet: eventtest.Packet("tcp", "10.0.0.2:50051", "10.0.0.1:40000", "."), Body: Drop{}},
			"[10.0.0.2 10.0.0.1]", "[10.0.0.1:40000 10.0.0.2:50051]"},
		{"a later fragment", Event{Packet: eventtest.Packet("udp", "10.0.0.1:0", "10.0.0.2:0", ""), Body: Drop{}}, "[10.0.0.1]", "[10.0.0.2:0]"},
		{"in a tunnel", Event{Packet: &packet.Packet{Proto: "udp", Src: netip.MustParseAddr("192.168.0.1"), Sport: 50000, Dst: netip.MustParseAddr("192.168.0.2"), Dport: 8472,
			Tunnel: &packet.Tunnel{Packet: eventtest.Packet("tcp", client, "10.244.1.9:80", "S")}}, Body: Drop{}},
			"[10.244.0.2 192.168.0.1]", "[10.244.1.9:80 192.168.0.2:8472]"},
		{"refused", Event{Body: Reset{Cause: ResetRefused, Connection: eventtest.Flow("10.0.0.2:40123", "10.0.0.1:33000")}}, "[10.0.0.1]", "[10.0.0.2:40123]"},
		{"a lookup", Event{Packet: eventtest.Packet("udp", client, server, ""), Body: DNS{Transport: "udp", Server: netip.MustParseAddrPort(server), Backend: netip.MustParseAddrPort("10.9.0.3:5353"),
			Last: &Sight{Flow: eventtest.Flow("10.9.0.1:40001", "10.9.0.3:5353")}}}, "[10.244.0.2 10.9.0.1]", "[10.96.0.10:53 10.9.0.3:5353]"},
		{"no packet", Event{Body: Cgroup{}}, "[]", "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := AboutEvent(c.e)
			if got := fmt.Sprint(a.Clients); got != c.clients {
				t.Errorf("clients %s, want %s", got, c.clients)
			}
			if got := fmt.Sprint(a.Servers); got != c.servers {
				t.Errorf("servers %s, want %s", got, c.servers)
			}
		})
	}
}

func TestAboutInJSONHasNoNull(t *testing.T) {
	for _, c := range []struct {
		a    About
		want string
	}{
		{About{}, `{"addrs":[],"clients":[],"servers":[]}`},
		{About{Proto: "udp", Clients: []netip.Addr{netip.MustParseAddr("fd00::1")},
			Servers: []netip.AddrPort{netip.MustParseAddrPort("[fd00::2]:53"), netip.MustParseAddrPort("[fd00::1]:0")}, Netns: 7,
			Rule: FilterRule{"nftables", "inet", "firewall", "forward", 2, 7, "drop"}, Process: Process{3, 4, "nft"}},
			`{"proto":"udp","addrs":["fd00::1","fd00::2"],"clients":["fd00::1"],"servers":["[fd00::2]:53","fd00::1"],"netns":7,` +
				`"rule":{"system":"nftables","family":"inet","table":"firewall","chain":"forward","number":2,"handle":7,"text":"drop"},"process":{"pid":3,"tid":4,"comm":"nft"}}`},
	} {
		got, err := json.Marshal(c.a)
		if err != nil || string(got) != c.want {
			t.Errorf("got %s, %v, want %s", got, err, c.want)
		}
	}
}
