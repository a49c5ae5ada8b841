package dns

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder"
)

// Namespaces of the test's packets.
const (
	podNetns  = 1
	nodeNetns = 2
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// ip returns an IPv4 packet with UDP and what it carries.
func ip(src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	b[20], b[21], b[22], b[23] = byte(src.Port()>>8), byte(src.Port()), byte(dst.Port()>>8), byte(dst.Port())
	return append(b, payload...)
}

// seen is a packet at a device, ms after the start.
func seen(ms int, journey uint64, netns uint32, way decoder.Direction, p *decoder.Packet) decoder.Event {
	return decoder.Event{
		Header: decoder.Header{Time: start.Add(time.Duration(ms) * time.Millisecond), Netns: netns, Ifindex: 2, Direction: way, Journey: journey},
		Packet: p, Body: decoder.Hop{},
	}
}

func udp(src, dst string, payload []byte) *decoder.Packet {
	return decoder.ParseIP(ip(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), payload))
}

// unreachable is the ICMP error of a router about a packet.
func unreachable(t *testing.T, about []byte, code byte) *decoder.Packet {
	t.Helper()
	b := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1, 3, code, 0, 0, 0, 0, 0, 0}, about...)
	p := decoder.ParseIP(b)
	if p == nil || p.About() == nil {
		t.Fatal("no ICMP error")
	}
	return p
}

const (
	client  = "10.0.0.1:4000"
	service = "10.96.0.10:53"
)

func TestStageTellsWhatBecameOfAQuery(t *testing.T) {
	query := pack(t, dnsmessage.Header{ID: 7})
	answer := pack(t, dnsmessage.Header{ID: 7, Response: true}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}})
	failed := pack(t, dnsmessage.Header{ID: 7, Response: true, RCode: dnsmessage.RCodeServerFailure})
	cut := pack(t, dnsmessage.Header{ID: 7, Response: true, Truncated: true})
	asks := func(ms int, journey uint64) decoder.Event {
		return seen(ms, journey, podNetns, decoder.Out, udp(client, service, query))
	}
	answers := func(ms int, from string, b []byte) decoder.Event {
		return seen(ms, 2, podNetns, decoder.In, udp(from, client, b))
	}
	dropped := func(ms int, noise string) decoder.Event {
		e := seen(ms, 1, nodeNetns, "", udp(client, service, nil))
		e.Body = decoder.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Noise: noise}
		return e
	}
	lost := func(ms int, reason string) decoder.Event {
		e := seen(ms, 2, podNetns, "", udp(service, client, nil))
		e.Body = decoder.Drop{Reason: reason, Location: "__udp4_lib_rcv"}
		return e
	}
	type want struct {
		outcome  decoder.DNSOutcome
		rcode    string
		attempts int
	}
	for _, c := range []struct {
		name   string
		events []decoder.Event
		want   []want
	}{
		{"an answer", []decoder.Event{asks(0, 1), answers(9, service, answer)}, []want{{decoder.DNSAnswered, "NOERROR", 1}}},
		{"a failure is an answer", []decoder.Event{asks(0, 1), answers(9, service, failed)}, []want{{decoder.DNSAnswered, "SERVFAIL", 1}}},
		{"an answer cut short", []decoder.Event{asks(0, 1), answers(9, service, cut)}, []want{{decoder.DNSTruncated, "NOERROR", 1}}},
		{"no answer", []decoder.Event{asks(0, 1)}, []want{{decoder.DNSNoResponse, "", 1}}},
		{"an answer from somebody else", []decoder.Event{asks(0, 1), answers(9, "10.0.0.9:53", answer)}, []want{{decoder.DNSNoResponse, "NOERROR", 1}}},
		{"asked again by the same socket", []decoder.Event{asks(0, 1), asks(900, 3), answers(909, service, answer)},
			[]want{{decoder.DNSNoResponse, "", 1}, {decoder.DNSAnswered, "NOERROR", 2}}},
		{"asked again by another socket", []decoder.Event{asks(0, 1), seen(1900, 3, podNetns, decoder.Out, udp("10.0.0.1:4001", service, query))},
			[]want{{decoder.DNSNoResponse, "", 1}, {decoder.DNSNoResponse, "", 2}}},
		{"asked anew, after an answer", []decoder.Event{asks(0, 1), answers(9, service, answer), asks(1500, 3), answers(1509, service, failed)},
			[]want{{decoder.DNSAnswered, "NOERROR", 1}, {decoder.DNSAnswered, "SERVFAIL", 1}}},
		{"asked anew, when no resolver waits any more", []decoder.Event{asks(0, 1), seen(9000, 3, podNetns, decoder.Out, udp("10.0.0.1:4001", service, query))},
			[]want{{decoder.DNSNoResponse, "", 1}, {decoder.DNSNoResponse, "", 1}}},
		{"an answer to another port", []decoder.Event{asks(0, 1), seen(9, 2, podNetns, decoder.In, udp(service, "10.0.0.1:4001", answer))},
			[]want{{decoder.DNSNoResponse, "NOERROR", 1}}},
		{"an answer in other letters", []decoder.Event{asks(0, 1), answers(9, service, bytes.ReplaceAll(answer, []byte("web"), []byte("wEb")))},
			[]want{{decoder.DNSAnswered, "NOERROR", 1}}},
		{"the same packet, its journey lost", []decoder.Event{asks(0, 1), seen(1, 9, nodeNetns, decoder.Out, udp(client, service, query)), answers(9, service, answer)},
			[]want{{decoder.DNSAnswered, "NOERROR", 1}}},
		{"dropped", []decoder.Event{asks(0, 1), dropped(1, "")}, []want{{decoder.DNSDropped, "", 1}}},
		{"a copy dropped", []decoder.Event{asks(0, 1), dropped(1, ""), answers(9, service, answer)}, []want{{decoder.DNSAnswered, "NOERROR", 1}}},
		{"a drop that is no loss", []decoder.Event{asks(0, 1), dropped(1, "for another host")}, []want{{decoder.DNSNoResponse, "", 1}}},
		{"the answer dropped behind the client's device", []decoder.Event{asks(0, 1), answers(9, service, answer), lost(10, "UDP_CSUM")}, []want{{decoder.DNSDropped, "NOERROR", 1}}},
		{"an answer that the client does not wait for any more", []decoder.Event{asks(0, 1), answers(9, service, answer), lost(10, "NO_SOCKET")}, []want{{decoder.DNSAnswered, "NOERROR", 1}}},
		{"an answer that comes to the node, and not to the client as others do", []decoder.Event{asks(0, 1), answers(9, service, answer),
			seen(500, 5, podNetns, decoder.Out, udp("10.0.0.1:4001", service, query)), seen(509, 6, nodeNetns, decoder.In, udp(service, "10.0.0.1:4001", answer))},
			[]want{{decoder.DNSAnswered, "NOERROR", 1}, {decoder.DNSNoResponse, "NOERROR", 1}}},
		{"an answer that comes to the node, of a client that is out of sight", []decoder.Event{asks(0, 1), seen(9, 2, nodeNetns, decoder.In, udp(service, client, answer))},
			[]want{{decoder.DNSAnswered, "NOERROR", 1}}},
		{"dropped before any device", []decoder.Event{func() decoder.Event {
			e := dropped(0, "")
			e.Packet = udp(client, service, query)
			return e
		}()}, []want{{decoder.DNSDropped, "", 1}}},
		{"rejected", []decoder.Event{asks(0, 1), seen(1, 5, podNetns, decoder.In, unreachable(t, udp(client, service, query).Bytes, 3))},
			[]want{{decoder.DNSRejected, "", 1}}},
		{"an error about another query", []decoder.Event{asks(0, 1), seen(1, 5, podNetns, decoder.In, unreachable(t, udp("10.0.0.1:9", service, query).Bytes, 3))},
			[]want{{decoder.DNSNoResponse, "", 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
			var got []want
			for _, e := range transactions(s, c.events) {
				d, _ := e.Body.(decoder.DNS)
				got = append(got, want{d.Outcome, d.Rcode, d.Attempts})
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("got %v, want %v", got[i], c.want[i])
				}
			}
		})
	}
}

// transactions runs events through the stage, then lets all time go by.
func transactions(s *Stage, events []decoder.Event) []decoder.Event {
	var all []decoder.Event
	for _, e := range events {
		all = append(all, s.Flush(e.Time, false)...)
		all = append(all, s.Observe(e)[1:]...)
	}
	return append(all, s.Flush(start.Add(time.Minute), false)...)
}

func TestStageFollowsTranslation(t *testing.T) {
	query := pack(t, dnsmessage.Header{ID: 7})
	answer := pack(t, dnsmessage.Header{ID: 7, Response: true})
	const backend = "10.9.0.2:5353"
	s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
	translated := seen(1, 1, nodeNetns, decoder.Out, udp(client, backend, nil))
	translated.Body = decoder.Hop{Conntrack: decoder.NewConntrack(
		decoder.FlowTuple{Src: netip.MustParseAddrPort(client), Dst: netip.MustParseAddrPort(service)},
		decoder.FlowTuple{Src: netip.MustParseAddrPort(backend), Dst: netip.MustParseAddrPort(client)})}
	got := transactions(s, []decoder.Event{
		seen(0, 1, podNetns, decoder.Out, udp(client, service, query)),
		translated,
		seen(5, 2, nodeNetns, decoder.In, udp(backend, client, answer)), // not yet translated back, no conntrack entry yet
		seen(6, 2, podNetns, decoder.In, udp(service, client, nil)),
	})
	if len(got) != 1 {
		t.Fatalf("%d transactions", len(got))
	}
	d, _ := got[0].Body.(decoder.DNS)
	if d.Outcome != decoder.DNSAnswered || d.Server.String() != service || d.Backend.String() != backend {
		t.Errorf("got %+v", d)
	}
	if d.Latency != 6*time.Millisecond || d.Beyond != 4*time.Millisecond {
		t.Errorf("latency %v, beyond the node %v", d.Latency, d.Beyond)
	}
}

func TestStageForgetsWhatIsOver(t *testing.T) {
	s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
	query := pack(t, dnsmessage.Header{ID: 7})
	answer := pack(t, dnsmessage.Header{ID: 7, Response: true})
	for i := range 100 {
		e := seen(i, uint64(2*i+1), podNetns, decoder.Out, udp(client, service, query))
		e.Packet.Sport = uint16(1000 + i)
		s.Observe(e)
		if i%2 == 0 {
			e = seen(i, uint64(2*i+2), podNetns, decoder.In, udp(service, client, answer))
			e.Packet.Dport = uint16(1000 + i)
			s.Observe(e)
		}
	}
	s.Flush(start.Add(time.Minute), false)
	s.Flush(start.Add(2*time.Minute), false)
	if n := len(s.byJourney) + len(s.byKey) + len(s.byFlow) + len(s.lastAsked) + len(s.open) + len(s.done); n != 0 {
		t.Errorf("%d entries are kept of queries that are over", n)
	}
}

// TestStageWaitsForTheDropBehindARejection: whoever rejects answers first and drops then, and the answer may be quicker.
func TestStageWaitsForTheDropBehindARejection(t *testing.T) {
	query := udp(client, service, pack(t, dnsmessage.Header{ID: 7}))
	dropped := seen(2, 1, nodeNetns, "", query)
	dropped.Body = decoder.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"}
	s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
	got := transactions(s, []decoder.Event{
		seen(0, 1, podNetns, decoder.Out, query),
		seen(1, 5, podNetns, decoder.In, unreachable(t, query.Bytes, 13)),
		dropped,
	})
	got = append(got, s.Flush(start.Add(time.Second), false)...)
	if len(got) != 1 || got[0].Body.(decoder.DNS).ICMP == nil || got[0].Body.(decoder.DNS).Drop == nil {
		t.Errorf("got %+v, want one query, with the error and the drop", got)
	}
}
