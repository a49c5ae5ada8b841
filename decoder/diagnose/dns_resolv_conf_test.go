// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestWhoAsksItselfHasABadResolvConf: where a loopback address is asked and nothing listens, the file says why.
func TestWhoAsksItselfHasABadResolvConf(t *testing.T) {
	const pod, node = 7, 1
	for _, tt := range []struct {
		name, file, asked string
		netns             uint32
		heard             bool
		want              string
	}{
		{"lines of Windows", "nameserver 10.96.0.10\r\n", "127.0.0.1:53", pod, false, "does not understand"},
		{"no nameserver", "search a.b\n", "127.0.0.1:53", pod, false, "names no nameserver"},
		{"the node's resolver", "nameserver 127.0.0.53\n", "127.0.0.53:53", pod, false, "names 127.0.0.53, which is the client itself"},
		{"the node's resolver, on the node", "nameserver 127.0.0.53\n", "127.0.0.53:53", node, false, ""},
		{"a resolver beside the program", "nameserver 127.0.0.1\n", "127.0.0.1:53", pod, true, ""},
		{"a program that asks where it likes", "nameserver 10.96.0.10\n", "127.0.0.1:53", pod, false, ""},
	} {
		conf := event.ParseResolv(strings.NewReader(tt.file))
		conf.Netns = tt.netns
		state := learnt([]event.Fact{{Node: &event.Node{Netns: node}}, {Resolv: &conf}})
		d := event.DNS{ClientNetns: tt.netns, Server: netip.MustParseAddrPort(tt.asked), Transport: "udp"}
		if !tt.heard {
			d.ICMP = &event.ICMP{Name: "port-unreachable"}
		}
		if f, ok := state.badResolvConf(d); ok != (tt.want != "") || !strings.Contains(f.Title, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, f.Title, tt.want)
		}
	}
}

// TestARefusedConnectionIsNoQuery: a scan of ports comes by that of DNS, too.
func TestARefusedConnectionIsNoQuery(t *testing.T) {
	const client = 7
	server := netip.MustParseAddrPort("10.0.0.9:53")
	conf := event.ResolvConf{Netns: client, Nameservers: []netip.Addr{server.Addr()}}
	e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: client},
		Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Src: netip.MustParseAddr("10.0.0.2"), Sport: 40000, Dst: server.Addr(), Dport: 53},
		Body: event.DNS{ClientNetns: client, Server: server, Transport: "tcp", Unsent: true, Outcome: event.DNSRejected,
			Connection: &event.DNSConnection{How: event.ConnectionRefused, By: event.ByServer}}}
	for _, tt := range []struct {
		name  string
		facts []event.Fact
		found int
	}{
		{"to any address", nil, 0},
		{"to the client's nameserver", []event.Fact{{Resolv: &conf}}, 1},
	} {
		if got := NewDNS(learnt(tt.facts), time.Second).Observe(e); len(got) != tt.found {
			t.Errorf("%s: %+v, want %d", tt.name, got, tt.found)
		}
	}
}
