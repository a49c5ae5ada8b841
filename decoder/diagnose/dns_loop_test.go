// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// loopQuery is a query that was last seen in a namespace, and had no answer.
func loopQuery(netns uint32, from, to string, last uint32) event.Event {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return event.Event{
		Header: event.Header{Time: time.Unix(1000, 0), Netns: netns},
		Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: src.Addr(), Sport: src.Port(), Dst: dst.Addr(), Dport: dst.Port()},
		Body: event.DNS{Name: "Example.com", Type: "A", Server: dst, Transport: "udp", ClientNetns: netns, Outcome: event.DNSNoResponse,
			Last: &event.Sight{Netns: last, Direction: event.In}},
	}
}

// but is the event with another end of the query.
func but(e event.Event, change func(*event.DNS)) event.Event {
	d, _ := e.Body.(event.DNS)
	change(&d)
	e.Body = d
	return e
}

// times is an event again and again, gap apart, and some more.
func times(n int, gap time.Duration, e event.Event, more ...event.Event) (all []event.Event) {
	for range n {
		e.Time = e.Time.Add(gap)
		all = append(all, e)
	}
	return append(all, more...)
}

// TestAServerThatAsksItselfIsALoop: one that has a resolver beside it asks that once.
func TestAServerThatAsksItselfIsALoop(t *testing.T) {
	const client, serving = 7, 8
	asked := loopQuery(client, "10.244.1.2:40000", "10.244.1.3:53", serving)
	lo := loopQuery(serving, "127.0.0.1:40001", "127.0.0.53:53", serving)
	own := loopQuery(serving, "10.244.1.3:40001", "10.244.1.3:53", serving)
	outside := loopQuery(serving, "10.244.1.3:40001", "10.9.0.2:53", 9)
	answered := func(rcode string) event.Event {
		return but(lo, func(d *event.DNS) { d.Outcome, d.Rcode = event.DNSAnswered, rcode })
	}
	refused := but(lo, func(d *event.DNS) { d.Outcome = event.DNSRejected })
	passing := but(asked, func(d *event.DNS) { d.Last = &event.Sight{Netns: serving, Direction: event.Out} })
	for _, tt := range []struct {
		name   string
		events []event.Event
		want   bool
	}{
		{"it asks its loopback address", times(20, 0, lo, times(2, 0, asked)...), true},
		{"and its clients gave up before", append(times(2, 0, asked), times(20, 0, lo)...), true},
		{"it asks its own address", times(20, 0, own, asked), true},
		{"a resolver beside it is asked once for each", append(times(20, 0, asked), times(20, 0, lo)...), false},
		{"it asks a server outside", times(20, 0, outside, asked), false},
		{"a program asks a resolver of its own pod", times(20, 0, lo), false},
		{"programs of the node have their answers of a resolver beside them", times(20, 0, answered("NOERROR"), asked), false},
		{"nothing listens at the loopback address", times(20, 0, refused, asked), false},
		{"it answers itself that it does not know", times(20, 0, answered("SERVFAIL"), asked), true},
		{"programs of the node ask a resolver that hangs, and a pod's query passes the node", times(20, 0, lo, passing), false},
		{"a program asks again and again", times(20, time.Second, lo, asked), false},
	} {
		st := learnt([]event.Fact{{Device: &event.Device{Netns: serving, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.3/24")}}}})
		r := NewDNSLoops(st)
		var folder event.Folder
		for _, e := range tt.events {
			for _, f := range r.Observe(e) {
				folder.Add(f)
			}
		}
		all := folder.All()
		if tt.want && (len(all) != 1 || all[0].ID != "dns-bad-resolv-conf") || !tt.want && len(all) > 0 {
			t.Errorf("%s: %+v", tt.name, all)
		}
	}
}
