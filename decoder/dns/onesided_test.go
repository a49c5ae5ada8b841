package dns

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder"
)

// TestQueriesThatOnlyPassThisNodeAreNotSaidToBeUnanswered: their answers may go another way.
func TestQueriesThatOnlyPassThisNodeAreNotSaidToBeUnanswered(t *testing.T) {
	query := udp(client, service, pack(t, dnsmessage.Header{ID: 7}))
	comes := func(ms int, journey uint64) decoder.Event { return seen(ms, journey, nodeNetns, decoder.In, query) }
	goes := func(ms int, journey uint64) decoder.Event {
		e := seen(ms, journey, nodeNetns, decoder.Out, query)
		e.Ifindex = 3
		return e
	}
	translated := goes(1, 1)
	translated.Packet = udp(client, "10.9.0.2:5353", pack(t, dnsmessage.Header{ID: 7}))
	translated.Body = decoder.Hop{Conntrack: decoder.NewConntrack(
		decoder.FlowTuple{Src: netip.MustParseAddrPort(client), Dst: netip.MustParseAddrPort(service)},
		decoder.FlowTuple{Src: netip.MustParseAddrPort("10.9.0.2:5353"), Dst: netip.MustParseAddrPort(client)})}
	for _, c := range []struct {
		name   string
		events []decoder.Event
		want   []bool
	}{
		{"it passes", []decoder.Event{comes(0, 1), goes(1, 1)}, []bool{true}},
		{"its client asks again", []decoder.Event{comes(0, 1), goes(1, 1), comes(1500, 2), goes(1501, 2)}, []bool{false, true}},
		{"its server is on this node", []decoder.Event{comes(0, 1), seen(1, 1, podNetns, decoder.In, query)}, []bool{false}},
		{"it is translated here", []decoder.Event{comes(0, 1), translated}, []bool{false}},
		{"its client is on this node", []decoder.Event{seen(0, 1, podNetns, decoder.Out, query), goes(1, 1)}, []bool{false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := transactions(New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}}), c.events)
			if len(got) != len(c.want) {
				t.Fatalf("%d queries, want %d", len(got), len(c.want))
			}
			for i, e := range got {
				if d, _ := e.Body.(decoder.DNS); d.OneSided != c.want[i] || d.Outcome != decoder.DNSNoResponse {
					t.Errorf("query %d: one-sided is %v, %s", i, d.OneSided, d.Outcome)
				}
			}
		})
	}
}
