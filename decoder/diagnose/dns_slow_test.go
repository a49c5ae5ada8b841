// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// The ends of the test's queries: a pod asks the cluster's server, and that asks its upstream.
const (
	slowClient   = "10.0.0.1"
	slowServer   = "10.0.0.53"
	slowUpstream = "192.0.2.53"
)

// timedQuery is a query, ms after the start, and how many ms it took; 0 is no answer.
func timedQuery(at, took int, from, to string) event.Event {
	start := time.Unix(1000, 0).Add(time.Duration(at) * time.Millisecond)
	server := netip.AddrPortFrom(netip.MustParseAddr(to), 53)
	d := event.DNS{
		Name: "web.example.org", Type: "A", Transport: "udp", Server: server, Outcome: event.DNSAnswered, Rcode: "NOERROR",
		Latency: time.Duration(took) * time.Millisecond, Beyond: time.Duration(took) * time.Millisecond,
		Last: &event.Sight{Time: start}, AnswerLast: &event.Sight{Time: start},
	}
	if took == 0 {
		d.Outcome, d.Rcode, d.AnswerLast = event.DNSNoResponse, "", nil
	}
	return event.Event{Header: event.Header{Time: start}, Packet: &packet.Packet{Proto: "udp", Src: netip.MustParseAddr(from), Dst: server.Addr(), Sport: 4000, Dport: 53}, Body: d}
}

func TestSlowness(t *testing.T) {
	many := func(n, every, took int, from, to string) (all []event.Event) {
		for i := range n {
			all = append(all, timedQuery(i*every, took, from, to))
		}
		return all
	}
	with := func(all []event.Event, more ...event.Event) []event.Event { return append(all, more...) }
	fast := func(n int) []event.Event { return many(n, 100, 3, slowClient, slowServer) }
	var chain, half []event.Event
	for i := range 4 {
		chain = append(chain, timedQuery(i*1000+5, 400, slowServer, slowUpstream), timedQuery(i*1000, 410, slowClient, slowServer))
		half = append(half, timedQuery(i*1000+5, 100, slowServer, slowUpstream), timedQuery(i*1000, 410, slowClient, slowServer))
	}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   string
		text   string // that the finding has
	}{
		{"all fast", fast(50), "", ""},
		{"one of many", with(fast(50), timedQuery(2000, 1500, slowClient, slowServer)), "info 10.0.0.53:53 1", "1 of 51 answers"},
		{"the only one", many(1, 0, 1500, slowClient, slowServer), "info 10.0.0.53:53 1", "1 of 1 answers"},
		{"a moment at which the machine was busy", with(fast(100), many(10, 10, 800, slowClient, slowServer)...), "info 10.0.0.53:53 10", ""},
		{"one in a hundred, again and again", with(fast(400), many(4, 9000, 800, slowClient, slowServer)...), "info 10.0.0.53:53 4", ""},
		{"one in ten, again and again", with(fast(40), many(4, 9000, 800, slowClient, slowServer)...), "warning 10.0.0.53:53 4", "p99 80"},
		{"all that were asked at once", many(5, 1, 800, slowClient, slowServer), "warning 10.0.0.53:53 5", ""},
		{"what waits for its upstream", chain, "warning 192.0.2.53:53 8", "4 answers of 10.0.0.53:53 waited for it"},
		{"what takes its own time, too", half, "warning 10.0.0.53:53 4", ""},
		{"what waits for an upstream that does not answer", with(many(3, 1000, 0, slowServer, slowUpstream), many(3, 1000, 900, slowClient, slowServer)...),
			"warning 10.0.0.53:53 3", "own query to 192.0.2.53:53 had no answer"},
		{"another server that is asked meanwhile", with(many(4, 1000, 400, slowClient, slowUpstream), many(4, 1000, 410, slowClient, slowServer)...),
			"warning 192.0.2.53:53 4, warning 10.0.0.53:53 4", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := slowServers{limit: 200 * time.Millisecond}
			for _, e := range c.events {
				s.take(e, e.Body.(event.DNS))
			}
			var all event.Folder
			for _, f := range NewState().graded(s.judge(time.Unix(1060, 0), true), time.Time{}) {
				all.Add(f)
			}
			var said []string
			for _, f := range all.All() {
				said = append(said, fmt.Sprintf("%s %s %d", f.Severity, f.Subject, f.Count))
				if text := f.Title + f.Cause; !strings.Contains(text, c.text) {
					t.Errorf("no %q in %s", c.text, text)
				}
			}
			if got := strings.Join(said, ", "); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
			if again := s.judge(time.Unix(1061, 0), true); len(again) > 0 {
				t.Errorf("says it twice: %v", again)
			}
		})
	}
}
