// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

func TestLostSYNsAreReportedOfTheListenerThatLostThem(t *testing.T) {
	rose := func(netns uint32, n uint64) event.Event {
		return event.Event{Body: event.Fact{Netstat: &event.Netstat{Netns: netns, Rose: map[string]uint64{"TcpExtListenOverflows": n}}}}
	}
	listener := func(netns, queue, limit uint32) event.Event {
		return event.Event{Body: event.Fact{Socket: &event.Socket{
			About: event.LookupKey{Netns: netns}, Found: true, Local: netip.MustParseAddrPort("10.0.0.1:80"), State: "LISTEN", Queue: queue, Limit: limit, PID: 5, Comm: "web",
		}}}
	}
	counts := func(drops uint32) event.Event {
		e := listener(7, 0, 1)
		f := e.Body.(event.Fact)
		f.Socket.Drops = drops
		return e
	}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   uint32 // SYNs lost, 0 if nothing is to be found
	}{
		{"a counter that rose and a listener over its limit", []event.Event{rose(7, 3), listener(7, 2, 1)}, 3},
		{"found once", []event.Event{rose(7, 2), listener(7, 2, 1), listener(7, 2, 1)}, 2},
		{"a listener of another namespace", []event.Event{rose(8, 2), listener(7, 2, 1)}, 0},
		{"a listener at its limit", []event.Event{rose(7, 2), listener(7, 1, 1)}, 0},
		{"a counter that rises no more", []event.Event{rose(7, 2), rose(7, 0), listener(7, 2, 1)}, 0},
		{"a listener that has caught up, and counts", []event.Event{rose(7, 2), counts(4), rose(7, 3), counts(7)}, 3},
		{"one that counted long ago", []event.Event{rose(7, 2), counts(4), rose(7, 3), counts(4)}, 0},
		{"a full queue that lost nothing", []event.Event{rose(7, 0), listener(7, 2, 1)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := NewOverflows()
			var found []event.Event
			for _, e := range c.events {
				found = append(found, o.Observe(e)[1:]...)
			}
			if c.want == 0 {
				if len(found) > 0 {
					t.Errorf("reports %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Body.(event.Sock).Count != c.want || found[0].Netns != 7 || found[0].PID != 5 {
				t.Errorf("reports %+v, want %d lost", found, c.want)
			}
		})
	}
}

// TestLostSYNsNameTheirClients, so that a selected client's pod has them, too.
func TestLostSYNsNameTheirClients(t *testing.T) {
	server := netip.MustParseAddrPort("10.0.0.1:80")
	syn := func(client string, flags string, way event.Direction) event.Event {
		from := netip.MustParseAddrPort(client)
		p := &packet.Packet{Family: "ipv4", Proto: "tcp", Flags: flags, Src: from.Addr(), Sport: from.Port(), Dst: server.Addr(), Dport: server.Port()}
		if way == event.Out {
			p.Src, p.Sport, p.Dst, p.Dport = p.Dst, p.Dport, p.Src, p.Sport
		}
		return event.Event{Header: event.Header{Netns: 7, Direction: way, Journey: uint64(from.Port())}, Packet: p, Body: event.Hop{}}
	}
	o := NewOverflows()
	for _, e := range []event.Event{
		syn("10.0.0.2:1000", "S", event.In), syn("10.0.0.2:1000", "S.", event.Out), // taken
		syn("10.0.0.2:1001", "S", event.In), syn("10.0.0.3:1002", "S", event.In), syn("10.0.0.3:1002", "S", event.In),
		{Body: event.Fact{Netstat: &event.Netstat{Netns: 7, Rose: map[string]uint64{"TcpExtListenOverflows": 3}}}},
	} {
		o.Observe(e)
	}
	found := o.Observe(event.Event{Body: event.Fact{Socket: &event.Socket{About: event.LookupKey{Netns: 7}, Found: true, Local: server, State: "LISTEN", Queue: 2, Limit: 1}}})[1:]
	if len(found) != 2 || found[0].Packet.Src.String() != "10.0.0.2" || found[0].Body.(event.Sock).Count != 1 ||
		found[1].Packet.Src.String() != "10.0.0.3" || found[1].Body.(event.Sock).Count != 2 || found[1].Journey != 1002 {
		t.Errorf("%+v", found)
	}
}
