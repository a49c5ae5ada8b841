// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestWhatAnICMPErrorSaysOfAServer: who says so decides what it means, and a REJECT rule of the server's host says what the
// kernel does of a closed port.
func TestWhatAnICMPErrorSaysOfAServer(t *testing.T) {
	const backend, router = "10.9.0.2", "192.0.2.1"
	closed := &event.Loss{Reason: "NO_SOCKET", Function: "__udp4_lib_rcv", Event: event.Event{
		Packet: &packet.Packet{Proto: "udp"}, Body: event.Drop{Reason: "NO_SOCKET", Location: "__udp4_lib_rcv"}}}
	for _, c := range []struct {
		name, icmp, from, want string
		loss                   *event.Loss
		ttl                    uint8
	}{
		{"the closed port was seen", "port-unreachable", backend, "dns-server-refused certain", closed, 64},
		{"the server's host says it", "port-unreachable", backend, "dns-server-refused likely", nil, 64},
		{"the service's address says it", "port-unreachable", "10.96.0.10", "dns-server-refused likely", nil, 64},
		{"a router says it", "port-unreachable", router, "netfilter-reject likely", nil, 64},
		{"a router prohibits", "admin-prohibited", router, "netfilter-reject likely", nil, 64},
		{"a router has no route", "net-unreachable", router, "no-route certain", nil, 64},
		{"a router gets no answer from the host", "host-unreachable", router, "neighbour-failed likely", nil, 64},
		{"a loop", "time-exceeded", router, "ttl-exceeded certain", nil, 64},
		{"a traceroute by queries", "time-exceeded", router, "", nil, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := timedQuery(0, 0, slowClient, "10.96.0.10")
			d := e.Body.(event.DNS)
			d.Outcome, d.Backend, d.Drop = event.DNSRejected, netip.MustParseAddrPort(backend+":5353"), c.loss
			d.ICMP = &event.ICMP{From: netip.MustParseAddr(c.from), Name: c.icmp}
			p := *e.Packet
			p.TTL = c.ttl
			e.Packet, e.Body = &p, d
			r := NewDNS(NewState(), time.Second)
			got := ""
			for _, f := range append(r.Observe(e), r.Flush(e.Time.Add(time.Minute), true)...) {
				got += f.ID + " " + string(f.Confidence)
			}
			if got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}
