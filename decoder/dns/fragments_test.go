package dns

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder"
	"ktrace/decoder/packet/packettest"
)

// cutUp makes fragments of at most size bytes of a UDP packet, size being a multiple of 8.
func cutUp(src, dst string, payload []byte, size int) []*decoder.Packet {
	const id = 77
	var all []*decoder.Packet
	for _, b := range packettest.Fragments(packettest.UDP(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), payload), id, size) {
		all = append(all, decoder.ParseIP(b))
	}
	return all
}

func TestStageTakesAnAnswerForOneWhenAllFragmentsArrived(t *testing.T) {
	query := pack(t, dnsmessage.Header{ID: 7})
	long := pack(t, dnsmessage.Header{ID: 7, Response: true}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}})
	asks := seen(0, 1, podNetns, decoder.Out, udp(client, service, query))
	parts := cutUp(service, client, long, 48)
	if len(parts) != 2 {
		t.Fatalf("%d fragments", len(parts))
	}
	at := func(netns uint32, way decoder.Direction, i int) decoder.Event {
		return seen(9, uint64(10+i), netns, way, parts[i])
	}
	home := func(i int) decoder.Event { return at(podNetns, decoder.In, i) }
	passing := func(i int) decoder.Event { return at(nodeNetns, decoder.In, i) }
	dropped := passing(1)
	dropped.Body = decoder.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"}
	whole := seen(10, 10, nodeNetns, decoder.Out, udp(service, client, long))
	for _, c := range []struct {
		name   string
		events []decoder.Event
		want   decoder.DNSOutcome
		came   decoder.Fragments
	}{
		{"all", []decoder.Event{asks, home(0), home(1)}, decoder.DNSAnswered, decoder.Fragments{Arrived: uint32(len(long)), Size: uint32(len(long)), First: true, AtClient: true}},
		{"the last one first", []decoder.Event{asks, passing(1), passing(0), home(1), home(0)}, decoder.DNSAnswered, decoder.Fragments{Arrived: uint32(len(long)), Size: uint32(len(long)), First: true, AtClient: true}},
		{"put together on the way", []decoder.Event{asks, passing(0), passing(1), whole}, decoder.DNSAnswered, decoder.Fragments{}},
		{"not the last", []decoder.Event{asks, home(0)}, decoder.DNSNoResponse, decoder.Fragments{Arrived: 40, First: true, AtClient: true}},
		{"not the last, twice the first", []decoder.Event{asks, home(0), home(0)}, decoder.DNSNoResponse, decoder.Fragments{Arrived: 40, First: true, AtClient: true}},
		{"both here, and one at the client", []decoder.Event{asks, passing(0), passing(1), home(0)}, decoder.DNSNoResponse, decoder.Fragments{Arrived: 40, First: true, AtClient: true}},
		{"not the last, which was to be waited for", []decoder.Event{asks, passing(0)}, decoder.DNSNoResponse, decoder.Fragments{Arrived: 40, First: true}},
		{"not the first", []decoder.Event{asks, home(1)}, decoder.DNSNoResponse, decoder.Fragments{Arrived: uint32(len(long)) - 40, Size: uint32(len(long))}},
		{"the last is dropped", []decoder.Event{asks, passing(0), dropped, home(0)}, decoder.DNSDropped, decoder.Fragments{Arrived: 40, First: true, AtClient: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
			got := transactions(s, c.events)
			if len(got) != 1 {
				t.Fatalf("%d transactions", len(got))
			}
			d, _ := got[0].Body.(decoder.DNS)
			var came decoder.Fragments
			if d.Fragments != nil {
				came = *d.Fragments
			}
			if d.Outcome != c.want || came != c.came {
				t.Errorf("%s, %+v came; want %s, %+v", d.Outcome, came, c.want, c.came)
			}
		})
	}
}
