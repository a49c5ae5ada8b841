// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// talk plays datagrams between a client's namespace and a server beyond its node.
type talk struct {
	rule    *Datagrams
	state   *State
	at      time.Time
	journey uint64
}

const talkNetns = 3

func (d *talk) hop(dir event.Direction, from, to netip.AddrPort, size int, data string) {
	d.journey++
	payload := append([]byte(data), make([]byte, size-len(data))...)
	ip := packettest.IP(from.Addr(), to.Addr(), layers.IPProtocolUDP, 64)
	b := packettest.Build(ip, &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}, gopacket.Payload(payload))
	h := event.Hop{}
	if dir == event.Out {
		h.SocketNetns = talkNetns
	}
	e := event.Event{Header: event.Header{Time: d.at, Netns: talkNetns, Ifindex: 2, Iface: "eth0", Direction: dir, Journey: d.journey}, Packet: packet.ParseIP(b), Body: h}
	d.state.Observe(e)
	d.rule.Observe(e)
}

// asks sends so many datagrams from a port, one after each pause; answered says which of them are.
func (d *talk) asks(port uint16, server string, n int, pause time.Duration, size int, data string, answered func(int) bool) {
	from, to := netip.AddrPortFrom(unreachedBy, port), netip.MustParseAddrPort(server)
	for i := range n {
		d.hop(event.Out, from, to, size, data)
		if answered != nil && answered(i) {
			d.at = d.at.Add(time.Millisecond)
			d.hop(event.In, to, from, 20, "")
		}
		d.at = d.at.Add(pause)
	}
}

func all(int) bool { return true }

// TestDatagramsWithoutAnAnswer: what asks again, or others are answered, is a failure; what has no answers, or does not wait, is none.
func TestDatagramsWithoutAnAnswer(t *testing.T) {
	const second, server = time.Second, "10.77.0.1:4000"
	quic := string([]byte{0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8})
	for _, c := range []struct {
		name string
		play func(*talk)
		id   string
		of   event.Severity
	}{
		{"asks again and again", func(d *talk) { d.asks(40000, server, 4, second, 30, "hello", nil) }, "udp-no-response", event.Warning},
		{"asks twice", func(d *talk) { d.asks(40000, server, 2, second, 30, "hello", nil) }, "", ""},
		{"asks twice where others are answered", func(d *talk) {
			d.asks(40001, server, 1, second, 30, "hello", all)
			d.asks(40000, server, 2, second, 30, "hello", nil)
		}, "udp-no-response", event.Warning},
		{"is answered in the end", func(d *talk) {
			d.asks(40000, server, 5, second, 30, "hello", func(i int) bool { return i == 4 })
		}, "", ""},
		{"a stream", func(d *talk) { d.asks(40000, server, 400, 20*time.Millisecond, 200, "video", nil) }, "", ""},
		{"a report now and then", func(d *talk) { d.asks(40000, server, 6, 10*second, 200, "report", nil) }, "", ""},
		{"syslog", func(d *talk) { d.asks(40000, "10.77.0.1:514", 8, second, 30, "x", nil) }, "udp-no-response", event.Info},
		{"syslog at another port", func(d *talk) { d.asks(40000, server, 8, second, 40, "<14>app: started", nil) }, "udp-no-response", event.Info},
		{"statsd", func(d *talk) { d.asks(40000, server, 8, second, 30, "web.requests:1|c\n", nil) }, "udp-no-response", event.Info},
		{"NTP", func(d *talk) { d.asks(40000, "10.77.0.1:123", 4, 2*second, 48, "\x23", nil) }, "udp-no-response", event.Info},
		{"QUIC", func(d *talk) { d.asks(40000, "10.77.0.1:443", 4, second, 1200, quic, nil) }, "udp-no-response", event.Info},
		{"DNS", func(d *talk) { d.asks(40000, "10.77.0.1:53", 4, second, 30, "hello", nil) }, "", ""},
		{"a tunnel", func(d *talk) { d.asks(40000, "10.77.0.1:8472", 4, second, 30, "", nil) }, "", ""},
		{"a group", func(d *talk) { d.asks(40000, "239.1.1.1:4000", 4, second, 30, "", nil) }, "", ""},
		{"what is kept alive when its peer is gone", func(d *talk) {
			d.asks(40000, server, 2, second, 30, "hello", all)
			d.asks(40000, server, 4, second, 9, "", nil)
		}, "", ""},
		{"a server that ceases to answer", func(d *talk) {
			d.asks(40000, server, 2, second, 30, "hello", all)
			d.asks(40000, server, 6, second, 30, "hello", nil)
		}, "udp-no-response", event.Warning},
		{"large ones into a path that takes none", func(d *talk) {
			d.asks(40000, server, 7, second, 30, "hello", all)
			d.asks(40001, server, 4, second, 1450, "hello", nil)
			d.asks(40002, server, 1, second, 30, "hello", all)
		}, "pmtu-blackhole", event.Critical},
		{"large ones into it, and small ones, of one socket", func(d *talk) {
			d.asks(40000, server, 1, second, 30, "hello", all)
			d.asks(40000, server, 4, second, 1450, "hello", nil)
			d.asks(40000, server, 2, second, 30, "hello", all)
		}, "pmtu-blackhole", event.Critical},
		{"large ones, of which some pass", func(d *talk) {
			d.asks(40000, server, 8, second, 1450, "hello", func(i int) bool { return i%2 == 0 })
		}, "", ""},
		{"what a router answers", func(d *talk) {
			d.asks(40000, server, 4, second, 30, "hello", nil)
			about := datagram(unreachedBy, unreached, 17, 63, 40000, 4000)
			d.rule.Observe(event.Event{Header: event.Header{Netns: talkNetns}, Packet: packet.ParseIP(complains(complainer, 3, 1, about)), Body: event.Hop{}})
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := learnt([]event.Fact{{Node: &event.Node{Kernel: "6.1"}}})
			rule := NewDatagrams(state)
			graded := state.Grade(rule)
			d := &talk{rule: rule, state: state, at: time.Unix(1000, 0)}
			c.play(d)
			found := graded.Flush(d.at.Add(5*second), true)
			if len(found) == 0 {
				found = []event.Finding{{}}
			}
			if f := found[0]; f.ID != c.id || f.Severity != c.of || len(found) > 1 {
				t.Errorf("%d findings, got %s %q %q, want %s %q", len(found), f.Severity, f.ID, f.Evidence, c.of, c.id)
			}
		})
	}
}
