// SPDX-License-Identifier: Apache-2.0

package eventfilter

import (
	"net/netip"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
	"ktrace/decoder/pcapfilter"
)

// A connection to a service, and its ends behind translation.
const (
	client   = "10.244.1.2:4000"
	service  = "10.96.0.10:80"
	backend  = "10.244.2.3:8080"
	node     = "10.9.0.1:6000"
	stranger = "10.244.7.7:1"
)

func flow(src, dst string) packet.FlowTuple {
	return packet.FlowTuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

// translated is a packet of the client's to the service behind both translations, or of the backend's answer.
func translated(answer bool) event.Event {
	c := event.NewConntrack(flow(client, service), flow(backend, node))
	f := flow(node, backend)
	if answer {
		f = f.Reverse()
	}
	return event.Event{Packet: packet.OfFlow("tcp", f, "S"), Body: event.Drop{Conntrack: c}}
}

func hopOf(journey uint64, f packet.FlowTuple) event.Event {
	return event.Event{Header: event.Header{Journey: journey}, Packet: packet.OfFlow("tcp", f, "."), Body: event.Hop{}}
}

// errorAbout is an ICMP error that quotes a TCP packet of a flow.
func errorAbout(f packet.FlowTuple) event.Event {
	const cut = 28 // as much as a router must quote (RFC 792)
	quoted := packettest.TCP(f.Src, f.Dst, packettest.ACK, 0, 0, nil)[:cut]
	return event.Event{Packet: packet.ParseIP(packettest.ICMPError(flow(stranger, node).Src.Addr(), 3, 4, 0, quoted)), Body: event.Hop{}}
}

func TestSieveKeepsWhatTheExpressionIsAbout(t *testing.T) {
	there := flow(client, service)
	sock := event.Event{Packet: packet.OfFlow("tcp", there.Reverse(), "R"), Body: event.Sock{Proto: "tcp", Local: there.Src, Remote: there.Dst}}
	for _, tt := range []struct {
		name, expr string
		events     []event.Event // the last of them is asked about
		want       bool
	}{
		{"as it is", "tcp port 8080", []event.Event{translated(false)}, true},
		{"as it was before translation", "src host 10.244.1.2 and dst host 10.96.0.10", []event.Event{translated(false)}, true},
		{"one name at a time", "host 10.96.0.10 and port 8080", []event.Event{translated(false)}, false},
		{"an answer as its receiver will see it", "src host 10.96.0.10 and dst port 4000", []event.Event{translated(true)}, true},
		{"an answer, the wrong way", "dst host 10.96.0.10", []event.Event{translated(true)}, false},
		{"another host", "host 10.1.1.1", []event.Event{translated(false)}, false},
		{"the journey passed", "host 10.96.0.10", []event.Event{hopOf(1, there), hopOf(1, flow(client, backend))}, true},
		{"another journey", "port 4000 and host 10.96.0.10", []event.Event{hopOf(1, there), hopOf(2, flow(client, backend))}, false},
		{"the flow passed, and this is its answer", "dst port 80", []event.Event{hopOf(1, there), hopOf(2, there.Reverse())}, true},
		{"the flow passed translated", "dst port 80", []event.Event{translated(false), hopOf(2, flow(backend, node))}, true},
		{"not known, so it stays", "ip[8] > 10", []event.Event{hopOf(1, there)}, true},
		{"not known, of a journey put aside", "ip[8] > 10 and len > 1 and udp or ip[9] = 17", []event.Event{hopOf(1, there), hopOf(1, there)}, false},
		{"an error about it", "tcp dst port 80", []event.Event{errorAbout(there)}, true},
		{"an error about another", "tcp dst port 81", []event.Event{errorAbout(there)}, false},
		{"an error about a flow that passed", "tcp[13] = 16", []event.Event{hopOf(1, there), errorAbout(there)}, true},
		{"a socket", "src host 10.244.1.2", []event.Event{sock}, true},
		{"a socket, from its peer", "src host 10.96.0.10", []event.Event{sock}, true},
		{"a socket of others", "host 10.1.1.1", []event.Event{sock}, false},
		{"a socket, what it cannot tell", "tcp[13] & 2 != 0", []event.Event{sock}, true},
		{"a socket, another protocol", "udp", []event.Event{sock}, false},
		{"a reset that a socket got", "tcp[tcpflags] & tcp-rst != 0 and port 80", []event.Event{sock}, true},
		{"what is no packet", "tcp", []event.Event{{Body: event.Fact{}}}, true},
		{"a sync", "tcp", []event.Event{{Body: event.Fsync{}}}, false},
	} {
		e, err := pcapfilter.Parse(tt.expr)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		s, err := New(e)
		if err != nil {
			t.Fatal(err)
		}
		var got bool
		for _, event := range tt.events {
			got = s.Match(event)
		}
		if got != tt.want {
			t.Errorf("%s: %q keeps it: %v", tt.name, tt.expr, got)
		}
	}
}

// BenchmarkSieve is what an expression costs of an event that does not pass, and has no bytes.
func BenchmarkSieve(b *testing.B) {
	e, err := pcapfilter.Parse("tcp port 80 and (host 10.0.0.1 or net 10.245.0.0/16)")
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(e)
	if err != nil {
		b.Fatal(err)
	}
	event := translated(false)
	for b.Loop() {
		if s.Match(event) {
			b.Fatal("kept")
		}
	}
}
