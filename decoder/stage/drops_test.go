// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

func TestDropsThatLoseNothingAreReported(t *testing.T) {
	to := func(addr string, p packet.Packet) *packet.Packet {
		p.Src, p.Dst = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr(addr)
		return &p
	}
	for _, c := range []struct {
		name   string
		packet *packet.Packet
		reason string
		noise  bool
	}{
		{"a SYN dropped by netfilter", to("10.0.0.2", packet.Packet{Proto: "tcp", Flags: "S"}), "NETFILTER_DROP", false},
		{"a SYN to a closed port", to("10.0.0.2", packet.Packet{Proto: "tcp", Flags: "S"}), "NO_SOCKET", false},
		{"a reset without a socket", to("10.0.0.2", packet.Packet{Proto: "tcp", Flags: "R"}), "NO_SOCKET", true},
		{"a datagram to a closed port", to("10.0.0.2", packet.Packet{Proto: "udp"}), "NO_SOCKET", false},
		{"an echo reply without a ping", to("10.0.0.2", packet.Packet{Proto: "icmp"}), "NO_SOCKET", true},
		{"a redirect that NAT does not pass on", to("10.0.0.2", packet.Packet{Proto: "icmp", ICMPType: packet.ICMPRedirect}), "NETFILTER_DROP", true},
		{"an error that netfilter drops", to("10.0.0.2", packet.Packet{Proto: "icmp", ICMPType: packet.ICMPUnreachable}), "NETFILTER_DROP", false},
		{"multicast without a member", to("224.0.0.251", packet.Packet{Proto: "udp"}), "NOT_SPECIFIED", true},
		{"multicast dropped by netfilter", to("224.0.0.251", packet.Packet{Proto: "udp"}), "NETFILTER_DROP", false},
		{"what a closed socket had not read", to("10.0.0.2", packet.Packet{Proto: "udp"}), "QUEUE_PURGE", true},
		{"another host's", to("10.0.0.2", packet.Packet{Proto: "udp"}), "OTHERHOST", true},
		{"data that came twice", to("10.0.0.2", packet.Packet{Proto: "tcp", Flags: "."}), "TCP_OLD_DATA", true},
		{"too big", to("10.0.0.2", packet.Packet{Proto: "tcp", Flags: "."}), "PKT_TOO_BIG", false},
	} {
		e := event.Event{Packet: c.packet, Body: event.Drop{Reason: c.reason}}
		d := NewDrops().Observe(e)[0].Body.(event.Drop)
		if (d.Noise != "") != c.noise {
			t.Errorf("%s: noise %q, want some: %v", c.name, d.Noise, c.noise)
		}
	}
}

func TestDropsWithoutAReasonAreReportedByTheFunction(t *testing.T) {
	names := NewNames()
	const address = 0xffff1234
	packet := packet.Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: "tcp", Flags: "R"}
	for symbol, want := range map[string]struct {
		location        string
		noise, noSocket bool
	}{
		"inet_rtm_getroute":              {"inet_rtm_getroute", true, false},
		"tcp_v4_rcv":                     {"tcp_v4_rcv", true, true}, // a reset without a socket
		"ip_rcv_finish_core.constprop.0": {"ip_rcv_finish_core", false, false},
		"sk_stream_kill_queues":          {"sk_stream_kill_queues", true, false},
		"icmpv6_rcv":                     {"icmpv6_rcv", true, false},
		"udp_destruct_common":            {"udp_destruct_common", true, false}, // what a closed socket had not read
	} {
		names.Observe(event.Event{Body: event.Fact{Symbol: &event.Symbol{Address: address, Name: symbol}}})
		e := names.Observe(event.Event{Packet: &packet, Body: event.Drop{Address: address}})[0]
		d := NewDrops().Observe(e)[0].Body.(event.Drop)
		if d.Reason != event.ReasonNotReported || d.Location != want.location || d.NoSocket() != want.noSocket || (d.Noise != "") != want.noise {
			t.Errorf("%s: %+v, no socket %v", symbol, d, d.NoSocket())
		}
	}
}

// TestAcknowledgementsOfAClosedHalfAreNoLoss: what carries data there is one.
func TestAcknowledgementsOfAClosedHalfAreNoLoss(t *testing.T) {
	for _, tt := range []struct {
		flags string
		len   uint32
		noise bool
	}{{".", 52, true}, {".", 53, false}, {"S", 52, false}} {
		p := &packet.Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: "tcp", Flags: tt.flags, Len: tt.len, DataAt: 52}
		d := NewDrops().Observe(event.Event{Packet: p, Body: event.Drop{Reason: "NOT_SPECIFIED", Location: "tcp_rcv_state_process"}})[0].Body.(event.Drop)
		if (d.Noise != "") != tt.noise {
			t.Errorf("[%s] of %d bytes: noise %q, want some: %v", tt.flags, tt.len, d.Noise, tt.noise)
		}
	}
}

func TestAResetBeforeTheDropMakesItAReject(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	syn := packet.OfFlow("tcp", packet.FlowTuple{Src: client, Dst: server}, "S")
	reset := packet.OfFlow("tcp", packet.FlowTuple{Src: server, Dst: client}, "R.")
	at := time.Unix(1, 0)
	for name, c := range map[string]struct {
		before event.Event
		want   string
	}{
		"a reset in the server's name":    {event.Event{Header: event.Header{Time: at, Direction: event.Out}, Packet: reset, Body: event.Hop{}}, event.VerdictReject},
		"one that came long before":       {event.Event{Header: event.Header{Time: at.Add(-time.Minute), Direction: event.Out}, Packet: reset, Body: event.Hop{}}, event.VerdictDrop},
		"one that came in from outside":   {event.Event{Header: event.Header{Time: at, Direction: event.In}, Packet: reset, Body: event.Hop{}}, event.VerdictDrop},
		"nothing that answers the packet": {event.Event{Header: event.Header{Time: at, Direction: event.Out}, Packet: syn, Body: event.Hop{}}, event.VerdictDrop},
	} {
		x := NewDrops()
		x.Observe(c.before)
		d := x.Observe(event.Event{Header: event.Header{Time: at}, Packet: syn, Body: event.Drop{Reason: event.ReasonNetfilter}})[0].Body.(event.Drop)
		if d.Verdict != c.want {
			t.Errorf("%s: verdict %s, want %s", name, d.Verdict, c.want)
		}
	}
}

// TestAnAnswerAboutTheSizeIsToWhatIsLarger: other packets of the flow, dropped for another cause, had no answer.
func TestAnAnswerAboutTheSizeIsToWhatIsLarger(t *testing.T) {
	const limit = 1400
	client, server := netip.MustParseAddrPort("10.0.0.1:0"), netip.MustParseAddrPort("10.0.0.2:0")
	sent := packettest.TCP(client, server, packettest.ACK, 0, 0, nil)
	quoting := packettest.ICMPError(netip.MustParseAddr("10.0.0.9"), 3, 4, limit, sent)
	at := time.Unix(1, 0)
	for length, answered := range map[uint32]bool{72: false, limit: false, limit + 1: true, 64000: true} {
		x := NewDrops()
		x.Observe(event.Event{Header: event.Header{Time: at}, Packet: packet.ParseIP(quoting), Body: event.Hop{}})
		p := packet.ParseIP(sent)
		p.Len = length
		d := x.Observe(event.Event{Header: event.Header{Time: at}, Packet: p, Body: event.Drop{Reason: event.ReasonNotReported, Location: "ip6_forward"}})[0].Body.(event.Drop)
		if (d.Answer != nil) != answered {
			t.Errorf("%d bytes where %d are the limit: answer %v, want %v", length, limit, d.Answer, answered)
		}
	}
}

// TestASocketsFilterMayBeItsControlGroups: then what it refuses is a loss.
func TestASocketsFilterMayBeItsControlGroups(t *testing.T) {
	const group = 4711
	for _, tt := range []struct {
		name, proto string
		group       uint64
		noise       bool
	}{
		{"a program judges what the group receives", "udp", group, false},
		{"another group's", "udp", group + 1, true},
		{"ping has a filter of its own", "icmp", group, true},
	} {
		x := NewDrops()
		x.Observe(event.Event{Body: event.Fact{Program: &event.Program{At: event.AtCgroupIngress, ID: 7, Cgroup: group}}})
		p := &packet.Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: tt.proto}
		d := x.Observe(event.Event{Header: event.Header{Cgroup: tt.group}, Packet: p, Body: event.Drop{Reason: event.ReasonSocketFilter}})[0].Body.(event.Drop)
		if (d.Noise != "") != tt.noise {
			t.Errorf("%s: noise %q, want some: %v", tt.name, d.Noise, tt.noise)
		}
	}
}

// TestWhatSendersWereAnsweredIsBounded by number: rules may answer a flood.
func TestWhatSendersWereAnsweredIsBounded(t *testing.T) {
	x := NewDrops()
	at := time.Unix(1, 0)
	var last event.Event
	for i := range 3 * bounded.MapSize {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
		syn := packet.OfFlow("tcp", packet.FlowTuple{Src: client, Dst: netip.MustParseAddrPort("10.0.0.2:80")}, "S")
		last = event.Event{Header: event.Header{Time: at}, Packet: syn, Body: event.Netfilter{Op: event.NetfilterRejected, Answer: "port-unreachable"}}
		x.Observe(last)
	}
	answers, rejects := 0, 0
	for range x.answers.All() {
		answers++
	}
	for range x.rejects.All() {
		rejects++
	}
	if answers > bounded.MapSize || rejects > bounded.MapSize {
		t.Errorf("%d answers and %d rejects are kept, want at most %d", answers, rejects, bounded.MapSize)
	}
	last.Body = event.Drop{Reason: event.ReasonNetfilter}
	if d := x.Observe(last)[0].Body.(event.Drop); !d.Rejected || d.Answer == nil {
		t.Errorf("the newest is forgotten: %+v", d)
	}
	last.Time = at.Add(time.Minute)
	if d := x.Observe(last)[0].Body.(event.Drop); d.Rejected || d.Answer != nil {
		t.Errorf("what was answered a minute ago counts: %+v", d)
	}
}

// TestDropsThatWaitForAVerdictAreBounded: in a flood the oldest come without.
func TestDropsThatWaitForAVerdictAreBounded(t *testing.T) {
	x := NewDrops()
	x.Observe(event.Event{Body: event.Fact{Node: &event.Node{Verdicts: true}}})
	const all = 3 * maxWaiting
	came := 0
	for i := range all {
		p := &packet.Packet{Proto: "udp", Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Sport: uint16(i)}
		came += len(x.Observe(event.Event{Header: event.Header{Time: time.Unix(1, int64(i))}, Packet: p, Body: event.Drop{Reason: event.ReasonNetfilter}}))
		if len(x.waiting) > maxWaiting {
			t.Fatalf("%d wait, want at most %d", len(x.waiting), maxWaiting)
		}
	}
	if came += len(x.Flush(time.Unix(2, 0), true)); came != all {
		t.Errorf("%d of %d drops came", came, all)
	}
}
