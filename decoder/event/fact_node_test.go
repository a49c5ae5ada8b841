// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/packet"
)

func TestAskForgetsOnlyTheEphemeralPort(t *testing.T) {
	a, b := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.96.0.10")
	for name, c := range map[string]struct {
		sport, dport, wantSport, wantDport uint16
	}{
		"a query to a service forgets the client's port":  {40000, 53, 0, 53},
		"an answer forgets the client's port":             {53, 40000, 53, 0},
		"two fixed ports both stay":                       {4789, 4789, 4789, 4789},
		"a listener on a high port keeps the lower port":  {50000, 40000, 0, 40000},
		"a packet without ports has none":                 {0, 0, 0, 0},
		"two equal high ports stay, for neither is known": {40000, 40000, 40000, 40000},
	} {
		t.Run(name, func(t *testing.T) {
			e := Event{Packet: &packet.Packet{Proto: "udp", Src: a, Sport: c.sport, Dst: b, Dport: c.dport}}
			got := KeyOf(e)
			if got.Src.Port() != c.wantSport || got.Dst.Port() != c.wantDport {
				t.Errorf("asked for %v, want ports %d and %d", got, c.wantSport, c.wantDport)
			}
		})
	}
}

func TestFactsAboutTheNodeSurviveARecording(t *testing.T) {
	want := Fact{Service: &ServiceFact{
		Namespace: "kube-system", Name: "kube-dns", Source: "iptables", Netns: 7,
		Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Ports: []ServicePort{{Name: "dns", Proto: "udp", Port: 53, Known: true, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.244.0.2:53")}}},
	}}
	raw, err := EncodeFact(time.Second, want)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Body.Summary(); got != want.Summary() {
		t.Errorf("got %s, want %s", got, want.Summary())
	}
}
