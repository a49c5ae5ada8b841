package decoder

import (
	"net/netip"
	"testing"
)

func TestLostSYNsAreToldOfTheListenerThatLostThem(t *testing.T) {
	rose := func(netns uint32, n uint64) Event {
		return Event{Body: Fact{Netstat: &Netstat{Netns: netns, Rose: map[string]uint64{"TcpExtListenOverflows": n}}}}
	}
	listener := func(netns, queue, limit uint32) Event {
		return Event{Body: Fact{Socket: &Socket{
			About: Question{Netns: netns}, Found: true, Local: netip.MustParseAddrPort("10.0.0.1:80"), State: "LISTEN", Queue: queue, Limit: limit, PID: 5, Comm: "web",
		}}}
	}
	for _, c := range []struct {
		name   string
		events []Event
		want   uint32 // SYNs lost, 0 if nothing is to be told
	}{
		{"a counter that rose and a listener over its limit", []Event{rose(7, 3), listener(7, 2, 1)}, 3},
		{"told once", []Event{rose(7, 2), listener(7, 2, 1), listener(7, 2, 1)}, 2},
		{"a listener of another namespace", []Event{rose(8, 2), listener(7, 2, 1)}, 0},
		{"a listener at its limit", []Event{rose(7, 2), listener(7, 1, 1)}, 0},
		{"a counter that rises no more", []Event{rose(7, 2), rose(7, 0), listener(7, 2, 1)}, 0},
		{"a full queue that lost nothing", []Event{rose(7, 0), listener(7, 2, 1)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := NewOverflows()
			var told []Event
			for _, e := range c.events {
				told = append(told, o.Observe(e)[1:]...)
			}
			if c.want == 0 {
				if len(told) > 0 {
					t.Errorf("tells %+v", told)
				}
				return
			}
			if len(told) != 1 || told[0].Body.(Sock).Count != c.want || told[0].Netns != 7 || told[0].PID != 5 {
				t.Errorf("tells %+v, want %d lost", told, c.want)
			}
		})
	}
}
