// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestQueriesThatOnlyPassThisNodeAreNotSaidToBeUnanswered: their answers may go another way.
func TestQueriesThatOnlyPassThisNodeAreNotSaidToBeUnanswered(t *testing.T) {
	query := udp(client, service, pack(t, dnsmessage.Header{ID: 7}))
	comes := func(ms int, journey uint64) event.Event { return seen(ms, journey, nodeNetns, event.In, query) }
	goes := func(ms int, journey uint64) event.Event {
		e := seen(ms, journey, nodeNetns, event.Out, query)
		e.Ifindex = 3
		return e
	}
	translated := goes(1, 1)
	translated.Packet = udp(client, "10.9.0.2:5353", pack(t, dnsmessage.Header{ID: 7}))
	translated.Body = event.Hop{Conntrack: event.NewConntrack(
		packet.FlowTuple{Src: netip.MustParseAddrPort(client), Dst: netip.MustParseAddrPort(service)},
		packet.FlowTuple{Src: netip.MustParseAddrPort("10.9.0.2:5353"), Dst: netip.MustParseAddrPort(client)})}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   []bool
	}{
		{"it passes", []event.Event{comes(0, 1), goes(1, 1)}, []bool{true}},
		{"its client asks again", []event.Event{comes(0, 1), goes(1, 1), comes(1500, 2), goes(1501, 2)}, []bool{false, true}},
		{"its server is on this node", []event.Event{comes(0, 1), seen(1, 1, podNetns, event.In, query)}, []bool{false}},
		{"it is translated here", []event.Event{comes(0, 1), translated}, []bool{false}},
		{"its client is on this node", []event.Event{seen(0, 1, podNetns, event.Out, query), goes(1, 1)}, []bool{false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := transactions(New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}}), c.events)
			if len(got) != len(c.want) {
				t.Fatalf("%d queries, want %d", len(got), len(c.want))
			}
			for i, e := range got {
				if d, _ := e.Body.(event.DNS); d.OneSided != c.want[i] || d.Outcome != event.DNSNoResponse {
					t.Errorf("query %d: one-sided is %v, %s", i, d.OneSided, d.Outcome)
				}
			}
		})
	}
}
