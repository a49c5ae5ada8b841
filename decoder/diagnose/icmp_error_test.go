// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// The ends of what routers complain about, and a router.
var (
	complainer  = netip.MustParseAddr("10.66.6.6")
	unreachedBy = netip.MustParseAddr("10.244.1.2")
	unreached   = netip.MustParseAddr("10.77.0.1")
)

// datagram is a packet of the protocol, from port to port; for ICMP the ports are type and identifier.
func datagram(src, dst netip.Addr, proto layers.IPProtocol, ttl byte, sport, dport uint16) []byte {
	ip := packettest.IP(src, dst, proto, ttl)
	switch proto {
	case layers.IPProtocolICMPv4:
		return packettest.Build(ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(uint8(sport), 0), Id: dport, Seq: 1})
	case layers.IPProtocolTCP:
		if ttl == established {
			return packettest.Build(ip, packettest.Segment(sport, dport, packettest.ACK, 1, 1))
		}
		return packettest.Build(ip, packettest.Segment(sport, dport, packettest.SYN, 0, 0))
	}
	return packettest.Build(ip, &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}, gopacket.Payload("0123456789ab"))
}

// established is the TTL of segments of connections that were answered.
const established = 61

// complains is the ICMP error of an address about a packet.
func complains(from netip.Addr, kind, code byte, about []byte) []byte {
	return packettest.ICMPError(from, kind, code, 0, about)
}

// passing are hops of packets, one every 10 ms, each another journey.
func passing(packets ...[]byte) []event.Event {
	var all []event.Event
	for i, b := range packets {
		at := time.Unix(1000, 0).Add(time.Duration(i) * 10 * time.Millisecond)
		all = append(all, event.Event{Header: event.Header{Time: at, Netns: 7, Journey: uint64(i + 1)}, Packet: packet.ParseIP(b), Body: event.Hop{}})
	}
	return all
}

func TestWhatOtherMachinesSayIsNamedOnce(t *testing.T) {
	syn := datagram(unreachedBy, unreached, 6, 63, 40000, 80)
	ask := datagram(unreachedBy, unreached, 17, 63, 40000, 4000)
	answer := datagram(unreached, unreachedBy, 17, 57, 4000, 40000)
	data := datagram(unreachedBy, unreached, 6, established, 40000, 80)
	ping := datagram(unreachedBy, unreached, 1, 63, 8, 77)
	trace := datagram(unreachedBy, unreached, 1, 3, 8, 78)
	var sweep [][]byte
	for i := range enoughProbed {
		host := netip.AddrFrom4([4]byte{10, 77, 1, byte(i)})
		p := datagram(unreachedBy, host, 1, 63, 8, 79)
		sweep = append(sweep, p, complains(complainer, 3, 1, p))
	}
	gone := event.Event{Header: event.Header{Time: time.Unix(1000, 0).Add(20 * time.Millisecond)}, Packet: packet.ParseIP(syn), Body: event.Drop{Reason: "IP_OUTNOROUTES"}}
	ended := event.Event{Header: event.Header{Time: gone.Time}, Packet: packet.ParseIP(data), Body: event.Sock{Op: event.SockError, Error: "EHOSTUNREACH"}}
	again, deaf := gone, gone
	again.Time = again.Time.Add(2 * madeWithin)
	deaf.Packet, deaf.Body = packet.ParseIP(ask), event.Drop{Reason: "NO_SOCKET"}
	query := append(datagram(unreachedBy, unreached, 17, 63, 40000, 5300)[:28], 0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'w', 'e', 'b', 0, 0, 1, 0, 1)
	query[3], query[25] = byte(len(query)), byte(len(query)-20)
	for _, tt := range []struct {
		name   string
		events []event.Event
		id     string
		of     event.Severity
		count  int
	}{
		{"a filter", passing(syn, complains(complainer, 3, 13, syn)), "netfilter-reject", event.Warning, 1},
		{"a filter that answers as hosts do", passing(syn, complains(complainer, 3, 3, syn)), "netfilter-reject", event.Warning, 1},
		{"no route", passing(ask, complains(complainer, 3, 0, ask)), "no-route", event.Warning, 1},
		{"no host", passing(ping, complains(complainer, 3, 1, ping)), "neighbour-failed", event.Warning, 1},
		{"another reason", passing(syn, complains(complainer, 3, 5, syn)), "icmp-unreachable", event.Warning, 1},
		{"a loop", passing(ping, complains(complainer, 11, 0, ping)), "ttl-exceeded", event.Warning, 1},
		{"a loop whose last packet began low", passing(syn, datagram(unreachedBy, unreached, 6, 3, 40000, 80), complains(complainer, 11, 0, syn)), "ttl-exceeded", event.Warning, 1},
		{"traceroute beside a ping", passing(ping, trace, complains(complainer, 11, 0, trace)), "", "", 0},
		{"a fragment that never came", passing(syn, complains(complainer, 11, 1, syn)), "", "", 0},
		{"this machine dropped it", append(passing(syn, complains(complainer, 3, 0, syn)), gone), "", "", 0},
		{"this machine dropped it, and dropped it again", append(passing(syn, complains(complainer, 3, 13, syn)), gone, again), "", "", 0},
		{"nothing listens on this machine", append(passing(ask, complains(unreached, 3, 3, ask), ask, complains(unreached, 3, 3, ask)), deaf), "icmp-unreachable", event.Warning, 2},
		{"a host where nothing listens, asked twice", passing(ask, complains(unreached, 3, 3, ask), ask, complains(unreached, 3, 3, ask)), "icmp-unreachable", event.Warning, 2},
		{"a DNS server behind a service, at another port", passing(query, complains(unreached, 3, 3, query), query, complains(unreached, 3, 3, query)), "", "", 0},
		{"asked once", passing(ask, complains(unreached, 3, 3, ask)), "icmp-unreachable", event.Info, 1},
		{"a late answer", passing(ask, answer, complains(unreachedBy, 3, 3, answer)), "", "", 0},
		{"the client of an answer is gone", passing(ask, answer, complains(complainer, 3, 1, answer)), "neighbour-failed", event.Info, 1},
		{"answers come after it", passing(ask, complains(complainer, 3, 1, ask), answer), "neighbour-failed", event.Info, 1},
		{"an established connection, once", passing(data, complains(complainer, 3, 1, data)), "neighbour-failed", event.Info, 1},
		{"an established connection that goes on", passing(data, complains(complainer, 3, 1, data), data, complains(complainer, 3, 1, data)), "neighbour-failed", event.Info, 1},
		{"an established connection whose end that is", append(passing(data, complains(complainer, 3, 1, data), data, complains(complainer, 3, 1, data)), ended), "neighbour-failed", event.Warning, 1},
		{"a sweep of pings", passing(sweep...), "neighbour-failed", event.Info, enoughProbed},
		{"a redirect", passing(syn, complains(complainer, 5, 1, syn)), "", "", 0},
		{"a tunnel's packet", passing(datagram(unreachedBy, unreached, 17, 63, 40000, 8472), complains(complainer, 3, 13, datagram(unreachedBy, unreached, 17, 63, 40000, 8472))), "", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state := learnt([]event.Fact{{Node: &event.Node{Kernel: "6.1"}}})
			rule := state.Grade(NewICMPErrors(state))
			var worst event.Finding
			n := 0
			for _, e := range tt.events {
				state.Observe(e)
				rule.Observe(e)
			}
			for _, f := range rule.Flush(time.Unix(1001, 0).Add(probedWithin), false) {
				n++
				if worst.ID == "" || f.Severity.AtLeast(worst.Severity) {
					worst = f
				}
			}
			if worst.ID != tt.id || worst.Severity != tt.of || n != tt.count {
				t.Errorf("%d findings, the worst %s %q %q, want %d, %s %q", n, worst.Severity, worst.ID, worst.Evidence, tt.count, tt.of, tt.id)
			}
		})
	}
}

// TestTheErrorThatAConnectGetsIsEvidence: the socket says so; before 5.15 the attempt to connect does.
func TestTheErrorThatAConnectGetsIsEvidence(t *testing.T) {
	syn := datagram(unreachedBy, unreached, 6, 63, 40000, 80)
	for _, said := range []event.Body{
		event.Sock{Op: event.SockError, Error: "EHOSTUNREACH"},
		event.Flow{State: event.FlowFailed, Error: "EHOSTUNREACH", ICMP: &event.ICMP{}},
	} {
		state := learnt([]event.Fact{{Node: &event.Node{Kernel: "6.1"}}})
		rule := state.Grade(NewICMPErrors(state))
		all := passing(syn, complains(complainer, 3, 1, syn))
		all = append(all, event.Event{Header: event.Header{Time: all[1].Time, PID: 7, Comm: "curl"}, Packet: packet.ParseIP(syn), Body: said})
		for _, e := range all {
			state.Observe(e)
			rule.Observe(e)
		}
		found := rule.Flush(all[1].Time.Add(madeWithin), false)
		if len(found) != 1 || !strings.Contains(strings.Join(found[0].Evidence, "\n"), "connect of curl (pid 7) from 10.244.1.2:40000 ended with EHOSTUNREACH") {
			t.Errorf("%T: %+v", said, found)
		}
	}
}
