package decoder

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/packet/packettest"
)

func TestDropsThatLoseNothingAreReported(t *testing.T) {
	to := func(addr string, p Packet) *Packet {
		p.Src, p.Dst = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr(addr)
		return &p
	}
	for _, c := range []struct {
		name   string
		packet *Packet
		reason string
		noise  bool
	}{
		{"a SYN dropped by netfilter", to("10.0.0.2", Packet{Proto: "tcp", Flags: "S"}), "NETFILTER_DROP", false},
		{"a SYN to nobody", to("10.0.0.2", Packet{Proto: "tcp", Flags: "S"}), "NO_SOCKET", false},
		{"a reset for nobody", to("10.0.0.2", Packet{Proto: "tcp", Flags: "R"}), "NO_SOCKET", true},
		{"a datagram for nobody", to("10.0.0.2", Packet{Proto: "udp"}), "NO_SOCKET", false},
		{"an echo reply that nobody waits for", to("10.0.0.2", Packet{Proto: "icmp"}), "NO_SOCKET", true},
		{"a redirect that NAT does not pass on", to("10.0.0.2", Packet{Proto: "icmp", ICMPType: icmpRedirect}), "NETFILTER_DROP", true},
		{"an error that netfilter drops", to("10.0.0.2", Packet{Proto: "icmp", ICMPType: icmpUnreachable}), "NETFILTER_DROP", false},
		{"multicast that nobody joined", to("224.0.0.251", Packet{Proto: "udp"}), "NOT_SPECIFIED", true},
		{"multicast dropped by netfilter", to("224.0.0.251", Packet{Proto: "udp"}), "NETFILTER_DROP", false},
		{"what a closed socket had not read", to("10.0.0.2", Packet{Proto: "udp"}), "QUEUE_PURGE", true},
		{"another host's", to("10.0.0.2", Packet{Proto: "udp"}), "OTHERHOST", true},
		{"data that came twice", to("10.0.0.2", Packet{Proto: "tcp", Flags: "."}), "TCP_OLD_DATA", true},
		{"too big", to("10.0.0.2", Packet{Proto: "tcp", Flags: "."}), "PKT_TOO_BIG", false},
	} {
		e := Event{Packet: c.packet, Body: Drop{Reason: c.reason}}
		d := NewDrops().Observe(e)[0].Body.(Drop)
		if (d.Noise != "") != c.noise {
			t.Errorf("%s: noise %q, want some: %v", c.name, d.Noise, c.noise)
		}
	}
}

func TestDropsWithoutAReasonAreReportedByTheFunction(t *testing.T) {
	names := NewNames()
	const address = 0xffff1234
	packet := Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: "tcp", Flags: "R"}
	for symbol, want := range map[string]struct {
		location        string
		noise, noSocket bool
	}{
		"inet_rtm_getroute":              {"inet_rtm_getroute", true, false},
		"tcp_v4_rcv":                     {"tcp_v4_rcv", true, true}, // a reset for nobody
		"ip_rcv_finish_core.constprop.0": {"ip_rcv_finish_core", false, false},
		"sk_stream_kill_queues":          {"sk_stream_kill_queues", true, false},
		"icmpv6_rcv":                     {"icmpv6_rcv", true, false},
		"udp_destruct_common":            {"udp_destruct_common", true, false}, // what a closed socket had not read
	} {
		names.Observe(Event{Body: Fact{Symbol: &Symbol{Address: address, Name: symbol}}})
		e := names.Observe(Event{Packet: &packet, Body: Drop{Address: address}})[0]
		d := NewDrops().Observe(e)[0].Body.(Drop)
		if d.Reason != ReasonNotTold || d.Location != want.location || d.NoSocket() != want.noSocket || (d.Noise != "") != want.noise {
			t.Errorf("%s: %+v, no socket %v", symbol, d, d.NoSocket())
		}
	}
}

func TestAResetBeforeTheDropMakesItAReject(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	syn := bare("tcp", FlowTuple{Src: client, Dst: server}, "S")
	reset := bare("tcp", FlowTuple{Src: server, Dst: client}, "R.")
	at := time.Unix(1, 0)
	for name, c := range map[string]struct {
		before Event
		want   string
	}{
		"a reset in the server's name":    {Event{Header: Header{Time: at, Direction: Out}, Packet: reset, Body: Hop{}}, VerdictReject},
		"one that came long before":       {Event{Header: Header{Time: at.Add(-time.Minute), Direction: Out}, Packet: reset, Body: Hop{}}, VerdictDrop},
		"one that came in from outside":   {Event{Header: Header{Time: at, Direction: In}, Packet: reset, Body: Hop{}}, VerdictDrop},
		"nothing that answers the packet": {Event{Header: Header{Time: at, Direction: Out}, Packet: syn, Body: Hop{}}, VerdictDrop},
	} {
		x := NewDrops()
		x.Observe(c.before)
		d := x.Observe(Event{Header: Header{Time: at}, Packet: syn, Body: Drop{Reason: reasonNetfilter}})[0].Body.(Drop)
		if d.Verdict != c.want {
			t.Errorf("%s: verdict %s, want %s", name, d.Verdict, c.want)
		}
	}
}

// TestAnAnswerAboutTheSizeIsToWhatIsLarger: other packets of the flow, dropped for another cause, were told nothing.
func TestAnAnswerAboutTheSizeIsToWhatIsLarger(t *testing.T) {
	const limit = 1400
	client, server := netip.MustParseAddrPort("10.0.0.1:0"), netip.MustParseAddrPort("10.0.0.2:0")
	sent := packettest.TCP(client, server, packettest.ACK, 0, 0, nil)
	quoting := packettest.ICMPError(netip.MustParseAddr("10.0.0.9"), 3, 4, limit, sent)
	at := time.Unix(1, 0)
	for length, told := range map[uint32]bool{72: false, limit: false, limit + 1: true, 64000: true} {
		x := NewDrops()
		x.Observe(Event{Header: Header{Time: at}, Packet: ParseIP(quoting), Body: Hop{}})
		p := ParseIP(sent)
		p.Len = length
		d := x.Observe(Event{Header: Header{Time: at}, Packet: p, Body: Drop{Reason: ReasonNotTold, Location: "ip6_forward"}})[0].Body.(Drop)
		if (d.Answer != nil) != told {
			t.Errorf("%d bytes where %d are the limit: told %v, want %v", length, limit, d.Answer, told)
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
		x.Observe(Event{Body: Fact{Program: &Program{At: AtCgroupIngress, ID: 7, Cgroup: group}}})
		p := &Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: tt.proto}
		d := x.Observe(Event{Header: Header{Cgroup: tt.group}, Packet: p, Body: Drop{Reason: reasonSocketFilter}})[0].Body.(Drop)
		if (d.Noise != "") != tt.noise {
			t.Errorf("%s: noise %q, want some: %v", tt.name, d.Noise, tt.noise)
		}
	}
}

// TestWhatSendersWereAnsweredIsBounded by number: rules may answer a flood.
func TestWhatSendersWereAnsweredIsBounded(t *testing.T) {
	x := NewDrops()
	at := time.Unix(1, 0)
	var last Event
	for i := range 3 * RecentMost {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
		syn := bare("tcp", FlowTuple{Src: client, Dst: netip.MustParseAddrPort("10.0.0.2:80")}, "S")
		last = Event{Header: Header{Time: at}, Packet: syn, Body: Netfilter{Op: NetfilterRejected, Answer: "port-unreachable"}}
		x.Observe(last)
	}
	answers, rejects := 0, 0
	for range x.answers.All() {
		answers++
	}
	for range x.rejects.All() {
		rejects++
	}
	if answers > RecentMost || rejects > RecentMost {
		t.Errorf("%d answers and %d rejects are kept, want at most %d", answers, rejects, RecentMost)
	}
	last.Body = Drop{Reason: reasonNetfilter}
	if d := x.Observe(last)[0].Body.(Drop); !d.Rejected || d.Answer == nil {
		t.Errorf("the newest is forgotten: %+v", d)
	}
	last.Time = at.Add(time.Minute)
	if d := x.Observe(last)[0].Body.(Drop); d.Rejected || d.Answer != nil {
		t.Errorf("what was answered a minute ago counts: %+v", d)
	}
}

// TestDropsThatWaitForAVerdictAreBounded: in a flood the oldest come without.
func TestDropsThatWaitForAVerdictAreBounded(t *testing.T) {
	x := NewDrops()
	x.Observe(Event{Body: Fact{Node: &Node{Verdicts: true}}})
	const all = 3 * maxWaiting
	came := 0
	for i := range all {
		p := &Packet{Proto: "udp", Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Sport: uint16(i)}
		came += len(x.Observe(Event{Header: Header{Time: time.Unix(1, int64(i))}, Packet: p, Body: Drop{Reason: reasonNetfilter}}))
		if len(x.waiting) > maxWaiting {
			t.Fatalf("%d wait, want at most %d", len(x.waiting), maxWaiting)
		}
	}
	if came += len(x.Flush(time.Unix(2, 0), true)); came != all {
		t.Errorf("%d of %d drops came", came, all)
	}
}
