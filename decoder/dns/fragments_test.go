// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// cutUp makes fragments of at most size bytes of a UDP packet, size being a multiple of 8.
func cutUp(src, dst string, payload []byte, size int) []*packet.Packet {
	const id = 77
	var all []*packet.Packet
	for _, b := range packettest.Fragments(packettest.UDP(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), payload), id, size) {
		all = append(all, packet.ParseIP(b))
	}
	return all
}

func TestStageTakesAnAnswerForOneWhenAllFragmentsArrived(t *testing.T) {
	query := pack(t, dnsmessage.Header{ID: 7})
	long := pack(t, dnsmessage.Header{ID: 7, Response: true}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}})
	asks := seen(0, 1, podNetns, event.Out, udp(client, service, query))
	parts := cutUp(service, client, long, 48)
	if len(parts) != 2 {
		t.Fatalf("%d fragments", len(parts))
	}
	at := func(netns uint32, way event.Direction, i int) event.Event {
		return seen(9, uint64(10+i), netns, way, parts[i])
	}
	home := func(i int) event.Event { return at(podNetns, event.In, i) }
	passing := func(i int) event.Event { return at(nodeNetns, event.In, i) }
	dropped := passing(1)
	dropped.Body = event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"}
	whole := seen(10, 10, nodeNetns, event.Out, udp(service, client, long))
	for _, c := range []struct {
		name   string
		events []event.Event
		want   event.DNSOutcome
		came   event.Fragments
	}{
		{"all", []event.Event{asks, home(0), home(1)}, event.DNSAnswered, event.Fragments{Arrived: uint32(len(long)), Size: uint32(len(long)), First: true, AtClient: true}},
		{"the last one first", []event.Event{asks, passing(1), passing(0), home(1), home(0)}, event.DNSAnswered, event.Fragments{Arrived: uint32(len(long)), Size: uint32(len(long)), First: true, AtClient: true}},
		{"put together on the way", []event.Event{asks, passing(0), passing(1), whole}, event.DNSAnswered, event.Fragments{}},
		{"not the last", []event.Event{asks, home(0)}, event.DNSNoResponse, event.Fragments{Arrived: 40, First: true, AtClient: true}},
		{"not the last, twice the first", []event.Event{asks, home(0), home(0)}, event.DNSNoResponse, event.Fragments{Arrived: 40, First: true, AtClient: true}},
		{"both here, and one at the client", []event.Event{asks, passing(0), passing(1), home(0)}, event.DNSNoResponse, event.Fragments{Arrived: 40, First: true, AtClient: true}},
		{"not the last, which was to be waited for", []event.Event{asks, passing(0)}, event.DNSNoResponse, event.Fragments{Arrived: 40, First: true}},
		{"not the first", []event.Event{asks, home(1)}, event.DNSNoResponse, event.Fragments{Arrived: uint32(len(long)) - 40, Size: uint32(len(long))}},
		{"the last is dropped", []event.Event{asks, passing(0), dropped, home(0)}, event.DNSDropped, event.Fragments{Arrived: 40, First: true, AtClient: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
			got := transactions(s, c.events)
			if len(got) != 1 {
				t.Fatalf("%d transactions", len(got))
			}
			d, _ := got[0].Body.(event.DNS)
			var came event.Fragments
			if d.Fragments != nil {
				came = *d.Fragments
			}
			if d.Outcome != c.want || came != c.came {
				t.Errorf("%s, %+v came; want %s, %+v", d.Outcome, came, c.want, c.came)
			}
		})
	}
}
