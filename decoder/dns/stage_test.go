// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// Namespaces of the test's packets.
const (
	podNetns  = 1
	nodeNetns = 2
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// seen is a packet at a device, ms after the start.
func seen(ms int, journey uint64, netns uint32, way event.Direction, p *packet.Packet) event.Event {
	return event.Event{
		Header: event.Header{Time: start.Add(time.Duration(ms) * time.Millisecond), Netns: netns, Ifindex: 2, Direction: way, Journey: journey},
		Packet: p, Body: event.Hop{},
	}
}

func udp(src, dst string, payload []byte) *packet.Packet {
	return packet.ParseIP(packettest.UDP(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), payload))
}

// unreachable is the ICMP error of a router about a packet.
func unreachable(t *testing.T, about []byte, code byte) *packet.Packet {
	t.Helper()
	p := packet.ParseIP(packettest.ICMPError(netip.MustParseAddr("10.0.0.9"), 3, code, 0, about))
	if p == nil || p.Quoted() == nil {
		t.Fatal("no ICMP error")
	}
	return p
}

const (
	client  = "10.0.0.1:4000"
	service = "10.96.0.10:53"
)

// asked7 is a query of the client, to which the other messages with a 7 are answers.
func asked7(t *testing.T, ms int, journey uint64) event.Event {
	return askedBy(t, ms, journey, client, 7)
}

func askedBy(t *testing.T, ms int, journey uint64, client string, id uint16) event.Event {
	return seen(ms, journey, podNetns, event.Out, udp(client, service, pack(t, dnsmessage.Header{ID: id})))
}

// ofProcess is the event with the process that sent the packet.
func ofProcess(pid uint32, e event.Event) event.Event {
	e.PID = pid
	return e
}

// answers is an answer at the client's device.
func answers(ms int, from string, answer []byte) event.Event {
	return seen(ms, 2, podNetns, event.In, udp(from, client, answer))
}

// found7 is an answer with an address.
func found7(t *testing.T) []byte {
	return pack(t, dnsmessage.Header{ID: 7, Response: true}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}})
}

// failed7 is an answer that is none.
func failed7(t *testing.T) []byte {
	return pack(t, dnsmessage.Header{ID: 7, Response: true, RCode: dnsmessage.RCodeServerFailure})
}

// fate is what is said of a query.
type fate struct {
	outcome  event.DNSOutcome
	rcode    string
	attempts int
}

// once is the fate of a single query that is no retry.
func once(o event.DNSOutcome, rcode string) []fate { return []fate{{o, rcode, 1}} }

// fates checks what is said of the queries among some events.
func fates(t *testing.T, name string, events []event.Event, want []fate) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
		var got []fate
		for _, e := range transactions(s, events) {
			d, _ := e.Body.(event.DNS)
			got = append(got, fate{d.Outcome, d.Rcode, d.Attempts})
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestStageReportsTheAnswerOfAQuery(t *testing.T) {
	query, answer := asked7(t, 0, 1), found7(t)
	cut := pack(t, dnsmessage.Header{ID: 7, Response: true, Truncated: true})
	again := seen(500, 5, podNetns, event.Out, udp("10.0.0.1:4001", service, pack(t, dnsmessage.Header{ID: 7})))
	for _, c := range []struct {
		name   string
		events []event.Event // behind the query
		want   []fate
	}{
		{"an answer", []event.Event{answers(9, service, answer)}, once(event.DNSAnswered, "NOERROR")},
		{"a failure is an answer", []event.Event{answers(9, service, failed7(t))}, once(event.DNSAnswered, "SERVFAIL")},
		{"an answer cut short", []event.Event{answers(9, service, cut)}, once(event.DNSTruncated, "NOERROR")},
		{"no answer", nil, once(event.DNSNoResponse, "")},
		{"an answer from another host", []event.Event{answers(9, "10.0.0.9:53", answer)}, once(event.DNSNoResponse, "NOERROR")},
		{"an answer to another port", []event.Event{seen(9, 2, podNetns, event.In, udp(service, "10.0.0.1:4001", answer))}, once(event.DNSNoResponse, "NOERROR")},
		{"an answer in other letters", []event.Event{answers(9, service, bytes.ReplaceAll(answer, []byte("web"), []byte("wEb")))}, once(event.DNSAnswered, "NOERROR")},
		{"the same packet, its journey lost", []event.Event{seen(1, 9, nodeNetns, event.Out, query.Packet), answers(9, service, answer)}, once(event.DNSAnswered, "NOERROR")},
		{"an answer that comes to the node, and not to the client as others do", []event.Event{answers(9, service, answer), again,
			seen(509, 6, nodeNetns, event.In, udp(service, "10.0.0.1:4001", answer))}, []fate{{event.DNSAnswered, "NOERROR", 1}, {event.DNSNoResponse, "NOERROR", 1}}},
		{"an answer that comes to the node, of a client that is out of sight", []event.Event{seen(9, 2, nodeNetns, event.In, udp(service, client, answer))},
			once(event.DNSAnswered, "NOERROR")},
	} {
		fates(t, c.name, append([]event.Event{query}, c.events...), c.want)
	}
}

// TestWhatBecomesOfAQueryIsUnknownWhereRecordsWereLost: that nothing was seen is no answer then, nor is a drop the end of it; what was
// seen stays what it is.
func TestWhatBecomesOfAQueryIsUnknownWhereRecordsWereLost(t *testing.T) {
	query, answer := asked7(t, 0, 1), found7(t)
	lost := func(from, to int) event.Event {
		at := func(ms int) time.Duration {
			return time.Duration(start.Add(time.Duration(ms) * time.Millisecond).UnixNano())
		}
		return event.Event{Header: event.Header{Time: start.Add(time.Duration(to) * time.Millisecond)},
			Body: event.Fact{Lost: &event.LostRecords{Kind: event.KindHop, Count: 1, From: at(from), To: at(to)}}}
	}
	dropped := seen(5, 1, nodeNetns, "", query.Packet)
	dropped.Body = event.Drop{Reason: "NETFILTER_DROP"}
	for _, c := range []struct {
		name   string
		events []event.Event // behind the query
		want   []fate
	}{
		{"nothing was seen", []event.Event{lost(100, 200)}, once(event.DNSUnknown, "")},
		{"nothing was seen, and the loss was before", []event.Event{lost(-200, -100)}, once(event.DNSNoResponse, "")},
		{"an answer at the client", []event.Event{lost(1, 8), answers(9, service, answer)}, once(event.DNSAnswered, "NOERROR")},
		{"an answer that may have been dropped behind it", []event.Event{lost(1, 8), seen(9, 2, nodeNetns, event.In, udp(service, client, answer))}, once(event.DNSUnknown, "NOERROR")},
		{"an answer from another host", []event.Event{lost(1, 8), answers(9, "10.0.0.9:53", answer)}, once(event.DNSUnknown, "NOERROR")},
		{"a drop", []event.Event{dropped, lost(7, 8)}, once(event.DNSUnknown, "")},
		{"an ICMP error", []event.Event{lost(1, 8), seen(9, 2, podNetns, event.In, unreachable(t, query.Packet.Bytes, 3))}, once(event.DNSRejected, "")},
	} {
		fates(t, c.name, append([]event.Event{query}, c.events...), c.want)
	}
}

func TestStageDistinguishesRetriesFromNewQueries(t *testing.T) {
	const unanswered = event.DNSNoResponse
	query := asked7(t, 0, 1)
	anew := []fate{{unanswered, "", 1}, {unanswered, "", 1}}
	again := []fate{{unanswered, "", 1}, {unanswered, "", 2}}
	var often []event.Event
	var each []fate
	for i := range 21 { // dig in a loop
		often = append(often, askedBy(t, 1100*i, uint64(i+10), fmt.Sprintf("10.0.0.1:%d", 4000+i), uint16(100+i)))
		each = append(each, fate{unanswered, "", 1})
	}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   []fate
	}{
		{"by the same socket", []event.Event{query, asked7(t, 900, 3), answers(909, service, found7(t))}, []fate{{unanswered, "", 1}, {event.DNSAnswered, "NOERROR", 2}}},
		{"by another socket", []event.Event{query, askedBy(t, 1900, 3, "10.0.0.1:4001", 7)}, again},
		{"by another socket of the process", []event.Event{ofProcess(5, query), ofProcess(5, askedBy(t, 1900, 3, "10.0.0.1:4001", 7))}, again},
		{"by another process", []event.Event{ofProcess(5, query), ofProcess(6, askedBy(t, 1900, 3, "10.0.0.1:4001", 7))}, anew},
		{"by another socket at once, as several threads do", []event.Event{query, askedBy(t, 200, 3, "10.0.0.1:4001", 7)}, anew},
		{"after an answer", []event.Event{query, answers(9, service, found7(t)), asked7(t, 1500, 3), answers(1509, service, failed7(t))},
			[]fate{{event.DNSAnswered, "NOERROR", 1}, {event.DNSAnswered, "SERVFAIL", 1}}},
		{"when no resolver waits any more", []event.Event{query, askedBy(t, 9000, 3, "10.0.0.1:4001", 7)}, anew},
		{"with another id", []event.Event{query, askedBy(t, 1900, 3, "10.0.0.1:4001", 8)}, anew},
		{"with another id by the same socket, before the answer", []event.Event{query, askedBy(t, 900, 3, client, 8), answers(950, service, found7(t))},
			[]fate{{event.DNSAnswered, "NOERROR", 1}, {unanswered, "", 1}}},
		{"with another id each time", often, each},
	} {
		fates(t, c.name, c.events, c.want)
	}
}

func TestStageReportsWhatTheKernelDropped(t *testing.T) {
	query, answer := asked7(t, 0, 1), found7(t)
	drop := func(ms int, journey uint64, netns uint32, p *packet.Packet, d event.Drop) event.Event {
		e := seen(ms, journey, netns, "", p)
		e.Body = d
		return e
	}
	lost := func(p *packet.Packet, noise string) event.Event {
		return drop(1, 1, nodeNetns, p, event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Noise: noise})
	}
	answerLost := func(reason string) event.Event {
		return drop(10, 2, podNetns, udp(service, client, nil), event.Drop{Reason: reason, Location: "__udp4_lib_rcv"})
	}
	bare := udp(client, service, nil)
	about := func(p *packet.Packet) event.Event {
		return seen(1, 5, podNetns, event.In, unreachable(t, p.Bytes, 3))
	}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   []fate
	}{
		{"dropped", []event.Event{query, lost(bare, "")}, once(event.DNSDropped, "")},
		{"a copy dropped", []event.Event{query, lost(bare, ""), answers(9, service, answer)}, once(event.DNSAnswered, "NOERROR")},
		{"a drop that is no loss", []event.Event{query, lost(bare, "for another host")}, once(event.DNSNoResponse, "")},
		{"dropped before any device", []event.Event{lost(query.Packet, "")}, once(event.DNSDropped, "")},
		{"the answer dropped behind the client's device", []event.Event{query, answers(9, service, answer), answerLost("UDP_CSUM")}, once(event.DNSDropped, "NOERROR")},
		{"an answer that the client does not wait for any more", []event.Event{query, answers(9, service, answer), answerLost("NO_SOCKET")}, once(event.DNSAnswered, "NOERROR")},
		{"rejected", []event.Event{query, about(query.Packet)}, once(event.DNSRejected, "")},
		{"an error about another query", []event.Event{query, about(udp("10.0.0.1:9", service, query.Packet.Transport()))}, once(event.DNSNoResponse, "")},
	} {
		fates(t, c.name, c.events, c.want)
	}
}

// transactions runs events through the stage, then lets all time go by.
func transactions(s *Stage, events []event.Event) []event.Event {
	var all []event.Event
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
	translated := seen(1, 1, nodeNetns, event.Out, udp(client, backend, nil))
	translated.Body = event.Hop{Conntrack: event.NewConntrack(
		packet.FlowTuple{Src: netip.MustParseAddrPort(client), Dst: netip.MustParseAddrPort(service)},
		packet.FlowTuple{Src: netip.MustParseAddrPort(backend), Dst: netip.MustParseAddrPort(client)})}
	got := transactions(s, []event.Event{
		seen(0, 1, podNetns, event.Out, udp(client, service, query)),
		translated,
		seen(5, 2, nodeNetns, event.In, udp(backend, client, answer)), // not yet translated back, no conntrack entry yet
		seen(6, 2, podNetns, event.In, udp(service, client, nil)),
	})
	if len(got) != 1 {
		t.Fatalf("%d transactions", len(got))
	}
	d, _ := got[0].Body.(event.DNS)
	if d.Outcome != event.DNSAnswered || d.Server.String() != service || d.Backend.String() != backend {
		t.Errorf("got %+v", d)
	}
	if d.Latency != 6*time.Millisecond || d.Beyond != 4*time.Millisecond {
		t.Errorf("latency %v, beyond the node %v", d.Latency, d.Beyond)
	}
}

// TestStageKnowsAnswersThatABridgeTranslatesBackInPart: a query of the node's own is first seen translated. An answer to a
// port that neither the query nor its flow before translation had is none.
func TestStageKnowsAnswersThatABridgeTranslatesBackInPart(t *testing.T) {
	const masked, backend = "10.244.0.1:43577", "10.244.0.11:53"
	query := seen(0, 1, nodeNetns, event.Out, udp(masked, backend, pack(t, dnsmessage.Header{ID: 7})))
	query.Body = event.Hop{Conntrack: event.NewConntrack(
		packet.FlowTuple{Src: netip.MustParseAddrPort(client), Dst: netip.MustParseAddrPort(service)},
		packet.FlowTuple{Src: netip.MustParseAddrPort(backend), Dst: netip.MustParseAddrPort(masked)})}
	for _, c := range []struct {
		from, to string
		want     event.DNSOutcome
	}{
		{backend, masked, event.DNSAnswered},
		{backend, client, event.DNSAnswered},
		{service, client, event.DNSAnswered},
		{backend, "10.244.0.1:4001", event.DNSNoResponse},
		{"10.244.0.12:53", client, event.DNSNoResponse},
	} {
		answer := seen(9, 2, nodeNetns, event.In, udp(c.from, c.to, found7(t)))
		fates(t, c.from+" to "+c.to, []event.Event{query, answer}, once(c.want, "NOERROR"))
	}
}

func TestStageForgetsWhatIsOver(t *testing.T) {
	s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
	query := pack(t, dnsmessage.Header{ID: 7})
	answer := pack(t, dnsmessage.Header{ID: 7, Response: true})
	for i := range 100 {
		e := seen(i, uint64(2*i+1), podNetns, event.Out, udp(client, service, query))
		e.Packet.Sport = uint16(1000 + i)
		s.Observe(e)
		if i%2 == 0 {
			e = seen(i, uint64(2*i+2), podNetns, event.In, udp(service, client, answer))
			e.Packet.Dport = uint16(1000 + i)
			s.Observe(e)
		}
	}
	s.Flush(start.Add(time.Minute), false)
	s.Flush(start.Add(2*time.Minute), false)
	if n := len(s.byJourney) + len(s.byKey) + len(s.byFlow) + len(s.lastAsked) + len(s.open) + len(s.done) + s.held.Len() + s.past.Len(); n != 0 {
		t.Errorf("%d entries are kept of queries that are over", n)
	}
}

// TestALateAnswerIsForNoOtherQuery: of the same id, as retries by other sockets and queries to several servers have.
func TestALateAnswerIsForNoOtherQuery(t *testing.T) {
	retry := askedBy(t, 1200, 3, "10.0.0.1:4001", 7)
	other := udp(client, "10.96.0.11:53", pack(t, dnsmessage.Header{ID: 7}))
	for name, events := range map[string][]event.Event{
		"the first attempt's, after the second": {asked7(t, 0, 1), retry, answers(1500, service, found7(t))},
		"one server's twice, and not the other's": {asked7(t, 0, 1), seen(1, 3, podNetns, event.Out, other), answers(9, service, found7(t)),
			seen(700, 6, podNetns, event.In, udp(service, client, found7(t)))},
	} {
		s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
		got := transactions(s, events)
		d, _ := got[len(got)-1].Body.(event.DNS)
		if len(got) != 2 || d.Outcome != event.DNSNoResponse || d.AnswerTo+d.AnswerFrom != "" {
			t.Errorf("%s: %d queries, the last has %+v", name, len(got), d)
		}
	}
}

// TestStageIsBoundedInAFlood has one pod ask more than there is room for, and another, after it, once.
func TestStageIsBoundedInAFlood(t *testing.T) {
	s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
	const flood, otherNetns = 40000, podNetns + 1000
	query := pack(t, dnsmessage.Header{})
	ask := func(i int, netns uint32) {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 4000)
		p := packet.ParseIP(packettest.UDP(from, netip.MustParseAddrPort(service), query))
		for hop := range 3 {
			s.Observe(seen(0, uint64(i+1), netns+uint32(hop), event.Out, p))
		}
	}
	for i := range flood {
		ask(i, podNetns)
		if n := s.held.Len(); s.held.Size() > maxOpen || len(s.byJourney) > n || len(s.lastAsked) > n || len(s.open) > 3*n+1024 {
			t.Fatalf("%d queries wait in %d bytes, %d journeys, %d questions, %d listed", n, s.held.Size(), len(s.byJourney), len(s.lastAsked), len(s.open))
		}
	}
	ask(flood, otherNetns)
	judged := s.Flush(start.Add(1500*time.Millisecond), false)
	last := judged[len(judged)-1]
	if d := last.Body.(event.DNS); last.Netns != otherNetns || d.Outcome != event.DNSNoResponse || len(d.Hops) != 3 {
		t.Errorf("the last that is judged is of namespace %d, %s, seen %d times; want that of the other", last.Netns, d.Outcome, len(d.Hops))
	}
	if s.past.Size() > maxDone || len(s.done) > 2*s.past.Len()+1024 || len(s.byKey) > 10*s.past.Len() {
		t.Errorf("%d bytes of %d queries are kept, %d listed, %d keys", s.past.Size(), s.past.Len(), len(s.done), len(s.byKey))
	}
	var sum event.Summary
	s.Flush(start.Add(time.Minute), true)
	s.Summarize(&sum)
	if sum.DNS.Queries != uint64(len(judged)) || sum.DNS.Queries+sum.DNS.Pending != flood+1 || sum.Evicted["DNS queries"] != sum.DNS.Pending {
		t.Errorf("%d judged, %d not waited for, %d evicted, of %d", sum.DNS.Queries, sum.DNS.Pending, sum.Evicted["DNS queries"], flood+1)
	}
	if sum.DNS.Queries < 2000 {
		t.Errorf("only %d of the flood were waited for", sum.DNS.Queries)
	}
}

// TestStageWaitsForTheDropBehindARejection: the node that rejects answers first and drops then, and the answer may be quicker.
func TestStageWaitsForTheDropBehindARejection(t *testing.T) {
	query := udp(client, service, pack(t, dnsmessage.Header{ID: 7}))
	dropped := seen(2, 1, nodeNetns, "", query)
	dropped.Body = event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"}
	s := New(Options{Wait: time.Second, Slow: time.Second, Ports: []uint16{53}})
	got := transactions(s, []event.Event{
		seen(0, 1, podNetns, event.Out, query),
		seen(1, 5, podNetns, event.In, unreachable(t, query.Bytes, 13)),
		dropped,
	})
	got = append(got, s.Flush(start.Add(time.Second), false)...)
	if len(got) != 1 || got[0].Body.(event.DNS).ICMP == nil || got[0].Body.(event.DNS).Drop == nil {
		t.Errorf("got %+v, want one query, with the error and the drop", got)
	}
}
