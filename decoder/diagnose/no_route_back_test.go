// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// TestAnswersWithoutARoute: a server's socket as a rule has no address of its own, so the finding names all that its namespace has. A
// table without a route is no cause where another one has it.
func TestAnswersWithoutARoute(t *testing.T) {
	for _, c := range []struct{ name, from, to, own, errno, id, title, servers string }{
		{"an answer", "0.0.0.0:53", "10.244.1.2:40000", "10.9.0.2/24", "ENETUNREACH", "no-route", "cannot answer 10.244.1.2 from udp port 53", "10.9.0.2:53"},
		{"by IPv6", "[::]:53", "[fd00::2]:40000", "fd00:9::2/64", "ENETUNREACH", "no-route", "cannot answer fd00::2 from udp port 53", "[fd00:9::2]:53"},
		{"from an address of its own", "10.9.0.3:9999", "10.244.1.2:40000", "10.9.0.2/24", "EACCES", "no-route", "from udp port 9999", "10.9.0.3:9999"},
		{"to a client on the internet", "[::]:53", "[2001:db8::2]:40000", "fd00:9::2/64", "ENETUNREACH", "no-route", "cannot answer", "[fd00:9::2]:53"},
		{"of which another table has a route", "0.0.0.0:53", "10.244.1.2:40000", "10.9.0.2/24", "", "", "", ""},
		{"a query", "0.0.0.0:40000", "10.244.1.2:53", "10.9.0.2/24", "ENETUNREACH", "no-route", "cannot reach 10.244.1.2:53", "10.244.1.2:53"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packet.OfFlow("udp", eventtest.Flow(c.from, c.to), "")
			e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, PID: 3, TID: 3, Comm: "coredns"}, Packet: p, Body: event.Sock{Op: event.SockNoRoute}}
			st := learnt([]event.Fact{
				{Route: &event.Route{About: event.KeyOf(e), Dst: p.Dst, Errno: c.errno}},
				{Device: &event.Device{Netns: 7, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix(c.own)}}},
				{Device: &event.Device{Netns: 7, Name: "lo", Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}},
			})
			r := st.Grade(NewConnectNoRoute(st, Config{}))
			r.Observe(e)
			found := r.Flush(e.Time.Add(factsDeadline), true)
			if len(found) != 1 {
				if c.id != "" || len(found) > 0 {
					t.Fatalf("found %+v", found)
				}
				return
			}
			f := found[0]
			if f.ID != c.id || f.Severity != event.Critical || !strings.Contains(f.Title, c.title) || len(f.About.Servers) != 1 || f.About.Servers[0].String() != c.servers {
				t.Errorf("found %s %s %q, about %v", f.Severity, f.ID, f.Title, f.About.Servers)
			}
		})
	}
}

// TestDNSWantsCallsToItsServersOnly: what else has no route is another verb's to name.
func TestDNSWantsCallsToItsServersOnly(t *testing.T) {
	for _, c := range []struct {
		name, proto, from, to string
		want                  int
	}{
		{"a query", "udp", "0.0.0.0:40000", "10.244.1.2:53", 1},
		{"a query over TCP", "tcp", "0.0.0.0:40000", "10.244.1.2:53", 1},
		{"a server's answer", "udp", "0.0.0.0:53", "10.244.1.2:40000", 0},
		{"a connection", "tcp", "0.0.0.0:40000", "10.244.1.2:80", 0},
	} {
		p := packet.OfFlow(c.proto, eventtest.Flow(c.from, c.to), "")
		e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, PID: 3, TID: 3, Comm: "app"}, Packet: p, Body: event.Sock{Op: event.SockNoRoute}}
		st := learnt([]event.Fact{{Route: &event.Route{About: event.KeyOf(e), Dst: p.Dst, Errno: "ENETUNREACH"}}})
		r := NewConnectNoRoute(st, Config{Kind: event.KindDNS, Ports: []uint16{53}})
		r.Observe(e)
		if found := r.Flush(e.Time.Add(factsDeadline), true); len(found) != c.want {
			t.Errorf("%s: found %+v, want %d", c.name, found, c.want)
		}
	}
}
