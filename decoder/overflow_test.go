package decoder

import (
	"net/netip"
	"testing"
)

func TestLostSYNsAreReportedOfTheListenerThatLostThem(t *testing.T) {
	rose := func(netns uint32, n uint64) Event {
		return Event{Body: Fact{Netstat: &Netstat{Netns: netns, Rose: map[string]uint64{"TcpExtListenOverflows": n}}}}
	}
	listener := func(netns, queue, limit uint32) Event {
		return Event{Body: Fact{Socket: &Socket{
			About: Question{Netns: netns}, Found: true, Local: netip.MustParseAddrPort("10.0.0.1:80"), State: "LISTEN", Queue: queue, Limit: limit, PID: 5, Comm: "web",
		}}}
	}
	counts := func(drops uint32) Event {
		e := listener(7, 0, 1)
		f := e.Body.(Fact)
		f.Socket.Drops = drops
		return e
	}
	for _, c := range []struct {
		name   string
		events []Event
		want   uint32 // SYNs lost, 0 if nothing is to be found
	}{
		{"a counter that rose and a listener over its limit", []Event{rose(7, 3), listener(7, 2, 1)}, 3},
		{"found once", []Event{rose(7, 2), listener(7, 2, 1), listener(7, 2, 1)}, 2},
		{"a listener of another namespace", []Event{rose(8, 2), listener(7, 2, 1)}, 0},
		{"a listener at its limit", []Event{rose(7, 2), listener(7, 1, 1)}, 0},
		{"a counter that rises no more", []Event{rose(7, 2), rose(7, 0), listener(7, 2, 1)}, 0},
		{"a listener that has caught up, and counts", []Event{rose(7, 2), counts(4), rose(7, 3), counts(7)}, 3},
		{"one that counted long ago", []Event{rose(7, 2), counts(4), rose(7, 3), counts(4)}, 0},
		{"a full queue that lost nothing", []Event{rose(7, 0), listener(7, 2, 1)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := NewOverflows()
			var found []Event
			for _, e := range c.events {
				found = append(found, o.Observe(e)[1:]...)
			}
			if c.want == 0 {
				if len(found) > 0 {
					t.Errorf("reports %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Body.(Sock).Count != c.want || found[0].Netns != 7 || found[0].PID != 5 {
				t.Errorf("reports %+v, want %d lost", found, c.want)
			}
		})
	}
}

// TestLostSYNsNameTheirClients, so that a selected client's pod has them, too.
func TestLostSYNsNameTheirClients(t *testing.T) {
	server := netip.MustParseAddrPort("10.0.0.1:80")
	syn := func(client string, flags string, way Direction) Event {
		from := netip.MustParseAddrPort(client)
		p := &Packet{Family: "ipv4", Proto: "tcp", Flags: flags, Src: from.Addr(), Sport: from.Port(), Dst: server.Addr(), Dport: server.Port()}
		if way == Out {
			p.Src, p.Sport, p.Dst, p.Dport = p.Dst, p.Dport, p.Src, p.Sport
		}
		return Event{Header: Header{Netns: 7, Direction: way, Journey: uint64(from.Port())}, Packet: p, Body: Hop{}}
	}
	o := NewOverflows()
	for _, e := range []Event{
		syn("10.0.0.2:1000", "S", In), syn("10.0.0.2:1000", "S.", Out), // taken
		syn("10.0.0.2:1001", "S", In), syn("10.0.0.3:1002", "S", In), syn("10.0.0.3:1002", "S", In),
		{Body: Fact{Netstat: &Netstat{Netns: 7, Rose: map[string]uint64{"TcpExtListenOverflows": 3}}}},
	} {
		o.Observe(e)
	}
	found := o.Observe(Event{Body: Fact{Socket: &Socket{About: Question{Netns: 7}, Found: true, Local: server, State: "LISTEN", Queue: 2, Limit: 1}}})[1:]
	if len(found) != 2 || found[0].Packet.Src.String() != "10.0.0.2" || found[0].Body.(Sock).Count != 1 ||
		found[1].Packet.Src.String() != "10.0.0.3" || found[1].Body.(Sock).Count != 2 || found[1].Journey != 1002 {
		t.Errorf("%+v", found)
	}
}
