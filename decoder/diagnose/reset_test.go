// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/testdata/wording"
)

func connection() packet.FlowTuple {
	return packet.FlowTuple{Src: netip.MustParseAddrPort("10.9.0.2:80"), Dst: netip.MustParseAddrPort("10.244.1.2:40000")}
}

func resetEvent(b event.Reset) event.Event {
	if b.Connection == (packet.FlowTuple{}) {
		b.Connection = connection()
	}
	if b.Reason == "" {
		b.Reason = event.ReasonNotReported
	}
	return event.Event{
		Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, PID: 42, Comm: "web"},
		Pod:    event.Pod{Namespace: "shop", Name: "cart"}, Peer: event.Pod{Namespace: "shop", Name: "web"},
		Packet: &packet.Packet{Proto: "tcp"}, Body: b,
	}
}

func sent(s event.Sock) *event.Sock { s.Op = event.SockResetSent; return &s }

func received(s event.Sock) *event.Sock { s.Op = event.SockResetReceived; return &s }

// resetCase is a reset and what is to be said of it.
type resetCase struct {
	name       string
	reset      event.Reset
	id         string // "" if there is nothing to say
	severity   event.Severity
	confidence event.Confidence
	says       string // part of title or evidence
}

// triggerSYN is one from the client to the server.
func triggerSYN() *packet.Packet {
	f := connection().Reverse()
	return &packet.Packet{Proto: "tcp", Flags: "S", Src: f.Src.Addr(), Sport: f.Src.Port(), Dst: f.Dst.Addr(), Dport: f.Dst.Port()}
}

// answering is a packet from the server to the client.
func answering(flags string) *packet.Packet {
	f := connection()
	return &packet.Packet{Proto: "tcp", Flags: flags, Src: f.Src.Addr(), Sport: f.Src.Port(), Dst: f.Dst.Addr(), Dport: f.Dst.Port()}
}

// parting makes a socket one that is closed with so much unread, after it had read as much and sent an answer.
func parting(unread uint32, answer uint64) *event.Sock {
	return sent(event.Sock{Closing: true, Unread: unread, Received: uint64(unread) + 200, Sent: answer})
}

// late is what resets a packet of that length, which came after the socket was closed.
func late(length uint32) *event.Sock {
	p := triggerSYN()
	p.Flags, p.Len = "P.", length
	return sent(event.Sock{Trigger: p, Sent: 300, Received: 300})
}

// used makes a socket one that is closed after it sent and received.
func used(s event.Sock) *event.Sock {
	s.Sent, s.Received, s.Closing = 10, 20, true
	return sent(s)
}

func TestFindingsAboutUnknownConnections(t *testing.T) {
	testResets(t, []resetCase{
		{"one refusal", event.Reset{Sender: event.SenderKernel, Cause: event.ResetRefused, Sent: sent(event.Sock{Trigger: triggerSYN()})},
			"connection-refused", event.Info, event.Certain, "shop/web (10.9.0.2:80)"},
		{"a refusal of a backend that was not seen", event.Reset{Sender: event.SenderPeer, Cause: event.ResetRefused, Received: received(event.Sock{State: "SYN_SENT"}),
			Connection: packet.FlowTuple{Src: netip.MustParseAddrPort("10.96.0.1:80"), Dst: connection().Dst}, Backend: connection().Src, BackendPod: "shop/web-1"},
			"connection-refused", event.Info, event.Likely, "10.9.0.2:80"},
		{"a reset that begins here though the kernel reports none", event.Reset{Sender: event.SenderKernel, Cause: event.ResetRefused, From: 7, Guessed: true},
			"connection-refused", event.Info, event.Likely, "or by a firewall"},
		{"a reset that begins where the address is not", event.Reset{Sender: event.SenderKernel, Cause: event.ResetRefused, From: 8},
			"connection-refused", event.Info, event.Likely, "or by a firewall"},
		{"a reset that begins where the address is", event.Reset{Sender: event.SenderKernel, Cause: event.ResetRefused, From: 7},
			"connection-refused", event.Info, event.Certain, "nothing listens on"},
		{"a refusal from elsewhere", event.Reset{Sender: event.SenderPeer, Cause: event.ResetRefused, Received: received(event.Sock{State: "SYN_SENT"})},
			"connection-refused", event.Info, event.Likely, "10.9.0.2:80"},
		{"stale, a client waits", event.Reset{Sender: event.SenderKernel, Cause: event.ResetStale, Sent: sent(event.Sock{Trigger: triggerSYN()}),
			Received: received(event.Sock{State: "ESTABLISHED", Idle: 90 * time.Second})},
			"reset-stale-connection", event.Warning, event.Certain, "last heard 1m30s before"},
		{"stale, no socket here waits", event.Reset{Sender: event.SenderKernel, Cause: event.ResetStale, Sent: sent(event.Sock{Trigger: triggerSYN()})},
			"reset-stale-connection", event.Info, event.Certain, ""},
		{"stale, after the other end said that it closes", event.Reset{Sender: event.SenderKernel, Cause: event.ResetStale, Sent: sent(event.Sock{State: "TIME_WAIT", Trigger: triggerSYN()}),
			Received: received(event.Sock{State: "CLOSE_WAIT"})},
			"reset-stale-connection", event.Info, event.Certain, "was in TIME_WAIT"},
	})
}

func TestFindingsAboutResetsByApplications(t *testing.T) {
	testResets(t, []resetCase{
		{"data unread", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED", Sent: used(event.Sock{Unread: 23})},
			"reset-by-application", event.Warning, event.Certain, "web/42 of shop/web (10.9.0.2:80) closed the socket with 23 bytes unread"},
		{"data unread of a peer that had closed", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "FIN_WAIT2", Sent: used(event.Sock{Unread: 23})},
			"reset-by-application", event.Info, event.Certain, ""},
		{"data unread of a peer that has said all, and waits for its answer", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "FIN_WAIT2",
			Sent:     sent(event.Sock{State: "CLOSE_WAIT", Closing: true, Unread: 23, Received: 33}),
			Received: received(event.Sock{State: "FIN_WAIT2", Inode: 7})}, "reset-by-application", event.Warning, event.Certain, "connection was FIN_WAIT2"},
		{"data unread of a peer that is closed altogether", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "FIN_WAIT2",
			Sent:     sent(event.Sock{State: "CLOSE_WAIT", Closing: true, Unread: 23, Received: 33}),
			Received: received(event.Sock{State: "FIN_WAIT2"})}, "reset-by-application", event.Info, event.Certain, ""},
		{"data unread by a client", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED", Sent: used(event.Sock{Unread: 24}),
			Connection: packet.FlowTuple{Src: connection().Dst, Dst: connection().Src}}, "reset-by-application", event.Info, event.Certain, ""},
		{"a good-bye unread at the end of a stream", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED", Sent: parting(31, 500),
			Received: received(event.Sock{State: "ESTABLISHED", Received: 500})}, "reset-by-application", event.Info, event.Certain, "31 bytes unread"},
		{"a good-bye unread, and the answer on its way", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED", Sent: parting(31, 500),
			Received: received(event.Sock{State: "ESTABLISHED", Received: 100})}, "reset-by-application", event.Warning, event.Certain, ""},
		{"the good-byes of several streams", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED",
			Sent:     sent(event.Sock{Closing: true, Unread: 302, Received: 4447, Sent: 4198}),
			Received: received(event.Sock{State: "ESTABLISHED", Received: 4198})}, "reset-by-application", event.Info, event.Certain, "302 bytes unread"},
		{"a second request as long as the first", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED",
			Sent:     sent(event.Sock{Closing: true, Unread: 300, Received: 600, Sent: 500}),
			Received: received(event.Sock{State: "ESTABLISHED", Received: 500})}, "reset-by-application", event.Warning, event.Certain, ""},
		{"a short question, the first of all, unread", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED", Sent: parting(31, 0)},
			"reset-by-application", event.Warning, event.Certain, ""},
		{"a server is known by who began, not by its port", event.Reset{Sender: event.SenderApp, Cause: event.ResetUnread, State: "ESTABLISHED", Sent: used(event.Sock{Unread: 100}),
			Server: connection().Dst}, "reset-by-application", event.Info, event.Certain, ""},
		{"a request that meets the close of a connection that was kept", event.Reset{Sender: event.SenderApp, Cause: event.ResetDataAfterExit, State: "CLOSE_WAIT",
			Sent: late(300), Received: received(event.Sock{State: "CLOSE_WAIT"})}, "reset-by-application", event.Warning, event.Certain, "after it had closed"},
		{"a short one, and the client waits", event.Reset{Sender: event.SenderApp, Cause: event.ResetDataAfterExit, State: "CLOSE_WAIT",
			Sent: late(72), Received: received(event.Sock{State: "CLOSE_WAIT", Idle: 200 * time.Millisecond})}, "reset-by-application", event.Warning, event.Certain, ""},
		{"a good-bye after the close", event.Reset{Sender: event.SenderApp, Cause: event.ResetDataAfterExit, State: "CLOSE_WAIT",
			Sent: late(52 + 31), Received: received(event.Sock{State: "CLOSE_WAIT"})}, "reset-by-application", event.Info, event.Certain, ""},
		{"linger 0", event.Reset{Sender: event.SenderApp, Cause: event.ResetLinger, State: "ESTABLISHED", Sent: used(event.Sock{})},
			"reset-by-application", event.Warning, event.Certain, "SO_LINGER"},
		{"linger 0 of a health check", event.Reset{Sender: event.SenderApp, Cause: event.ResetLinger, State: "ESTABLISHED", Sent: sent(event.Sock{Closing: true})},
			"reset-by-application", event.Info, event.Certain, ""},
		{"killed by SIGKILL", event.Reset{Sender: event.SenderApp, Cause: event.ResetKilled, State: "ESTABLISHED", Sent: used(event.Sock{Exiting: true, Signal: 9})},
			"reset-by-application", event.Warning, event.Certain, "signal 9"},
		{"a client whose output is no longer read", event.Reset{Sender: event.SenderApp, Cause: event.ResetKilled, State: "ESTABLISHED",
			Sent: used(event.Sock{Exiting: true, Signal: 13}), Server: connection().Dst}, "reset-by-application", event.Info, event.Certain, "signal 13"},
		{"a server that SIGPIPE ends", event.Reset{Sender: event.SenderApp, Cause: event.ResetKilled, State: "ESTABLISHED",
			Sent: used(event.Sock{Exiting: true, Signal: 13}), Server: connection().Src}, "reset-by-application", event.Warning, event.Certain, "signal 13"},
		{"asked to end by SIGTERM", event.Reset{Sender: event.SenderApp, Cause: event.ResetKilled, State: "ESTABLISHED", Sent: used(event.Sock{Exiting: true, Signal: 15})},
			"reset-by-application", event.Info, event.Certain, ""},
	})
}

func TestFindingsAboutResetsOnTheWay(t *testing.T) {
	testResets(t, []resetCase{
		{"rejected", event.Reset{Sender: event.SenderFirewall, Cause: event.ResetRejected, Drop: &event.Drop{Location: "nft_do_chain"}, Dropped: triggerSYN()},
			"reset-by-firewall", event.Warning, event.Likely, "dropped by netfilter (nft_do_chain)"},
		{"forged from four hops nearer", event.Reset{Sender: event.SenderMiddlebox, Cause: event.ResetForged, TTL: &event.TTLs{Reset: 61, Peer: 57},
			Received: received(event.Sock{State: "ESTABLISHED", Sent: 20})},
			"reset-by-middlebox", event.Warning, event.Likely, "typical of a layer-7 firewall"},
		{"an answer that was not translated", event.Reset{Sender: event.SenderKernel, Cause: event.ResetUntranslated, Connection: connection().Reverse(),
			Original: packet.FlowTuple{Src: connection().Dst, Dst: netip.MustParseAddrPort("10.96.0.1:80")}, Sent: sent(event.Sock{Trigger: answering("P.")})},
			"conntrack-invalid", event.Warning, event.Likely, "from 10.9.0.2:80, expected from 10.96.0.1:80"},
		{"the first answer was not translated", event.Reset{Sender: event.SenderKernel, Cause: event.ResetUntranslated, Connection: connection().Reverse(),
			Original: packet.FlowTuple{Src: connection().Dst, Dst: netip.MustParseAddrPort("10.96.0.1:80")}, Sent: sent(event.Sock{Trigger: answering("S.")})},
			"service-reply-not-untranslated", event.Critical, event.Certain, "expected from 10.96.0.1:80"},
		{"a SYN that meets an older connection", event.Reset{Sender: event.SenderKernel, Cause: event.ResetOlder, Connection: connection().Reverse(),
			Sent: sent(event.Sock{State: "SYN_SENT", Trigger: answering(".")})}, "connect-no-response", event.Warning, event.Likely, "shop/web (10.244.1.2:40000) cannot connect to shop/cart (10.9.0.2:80)"},
		{"a TTL that differs by one", event.Reset{Sender: event.SenderMiddlebox, Cause: event.ResetForged, TTL: &event.TTLs{Reset: 58, Peer: 57}},
			"reset-by-middlebox", event.Warning, event.Possible, "TTL 58"},
		{"accepted after the reset", event.Reset{Sender: event.SenderMiddlebox, Cause: event.ResetForged, Answered: true},
			"reset-by-middlebox", event.Warning, event.Likely, "accepted the connection"},
		{"an overflow", event.Reset{Sender: event.SenderKernel, Cause: event.ResetOverflow, Sent: sent(event.Sock{Local: connection().Src, Backlog: 2, Limit: 1})},
			"accept-queue-full", event.Warning, event.Certain, "tcp_abort_on_overflow"},
		{"from elsewhere after a long silence", event.Reset{Sender: event.SenderPeer, Cause: event.ResetUnknown, Received: received(event.Sock{State: "ESTABLISHED", Idle: 6 * time.Minute})},
			"reset-stale-connection", event.Warning, event.Likely, "6m0s"},
		{"from elsewhere in the middle of things", event.Reset{Sender: event.SenderPeer, Cause: event.ResetUnknown, Received: received(event.Sock{State: "ESTABLISHED", Idle: time.Second})}, "", "", "", ""},
		{"keepalive", event.Reset{Sender: event.SenderKernel, Cause: event.ResetTimeout, Sent: sent(event.Sock{})}, "", "", "", ""},
	})
}

// TestAPortScanIsFewFindings has a client try a thousand closed ports of a host, some of them again; and a thousand clients one port.
func TestAPortScanIsFewFindings(t *testing.T) {
	refused := func(client, server netip.AddrPort) event.Event {
		return resetEvent(event.Reset{Sender: event.SenderPeer, Cause: event.ResetRefused, Received: received(event.Sock{State: "SYN_SENT"}),
			Connection: packet.FlowTuple{Src: server, Dst: client}})
	}
	const many = 1000
	one := connection()
	for name, ends := range map[string]func(i int) (client, server netip.AddrPort){
		"many ports": func(i int) (netip.AddrPort, netip.AddrPort) {
			return one.Dst, netip.AddrPortFrom(one.Src.Addr(), uint16(1+i%(many*3/4)))
		},
		"many clients": func(i int) (netip.AddrPort, netip.AddrPort) {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), 40000), one.Src
		},
	} {
		var all event.Folder
		r := NewResets(NewState(), false)
		for i := range many {
			for _, f := range r.Observe(refused(ends(i))) {
				all.Add(f)
			}
		}
		var count uint64
		for _, f := range all.All() {
			count += f.Count
		}
		if n := len(all.All()); n == 0 || n > portScan+1 || count != many {
			t.Errorf("%s: %d findings that count %d, want at most %d and %d", name, n, count, portScan+1, many)
		}
	}
}

func testResets(t *testing.T, cases []resetCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			state.Observe(event.Event{Body: event.Fact{Device: &event.Device{Netns: 7, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(connection().Src.Addr(), 24)}}}})
			found := state.Grade(NewResets(state, false)).Observe(resetEvent(c.reset))
			if c.id == "" {
				if len(found) != 0 {
					t.Errorf("claims %+v", found)
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("%d findings, want one", len(found))
			}
			c.check(t, found[0])
		})
	}
}

func (c resetCase) check(t *testing.T, f event.Finding) {
	t.Helper()
	if f.ID != c.id || f.Severity != c.severity || f.Confidence != c.confidence {
		t.Errorf("%s %s %s, want %s %s %s", f.ID, f.Severity, f.Confidence, c.id, c.severity, c.confidence)
	}
	if text := f.Title + strings.Join(f.Evidence, "\n"); !strings.Contains(text, c.says) {
		t.Errorf("does not say %q:\n%s", c.says, text)
	}
	if f.Title == "" || f.Cause == "" || f.Subject == "" || len(f.Evidence) == 0 || len(f.Remedy) == 0 {
		t.Errorf("something is missing: %+v", f)
	}
	for _, text := range append(f.Evidence, f.Title, f.Cause) {
		if err := wording.Text(text); err != nil {
			t.Error(err)
		}
	}
}

// TestANewPodMayRefuse: until it has had its time to start. Of one that was there before it is not known when it began.
func TestANewPodMayRefuse(t *testing.T) {
	start := resetEvent(event.Reset{}).Time
	for _, c := range []struct {
		name  string
		began time.Duration // after the first refusal; 0 is not known
		last  time.Duration
		want  event.Severity
		says  bool
	}{
		{"new", -4 * time.Second, 20 * time.Second, event.Info, true},
		{"no longer new", -4 * time.Second, 40 * time.Second, event.Warning, false},
		{"it is not known when it began", 0, 20 * time.Second, event.Warning, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			fact := &event.PodFact{UID: "u", Namespace: "shop", Name: "web", Source: "netns", Netns: 7}
			if c.began != 0 {
				fact.At = time.Duration(start.Add(c.began).UnixNano())
			}
			state.Observe(event.Event{Body: event.Fact{Pod: fact}})
			r := state.Grade(NewResets(state, false))
			var f event.Finding
			for _, after := range []time.Duration{0, 10 * time.Second, c.last} {
				e := resetEvent(event.Reset{Sender: event.SenderKernel, Cause: event.ResetRefused})
				e.Time, e.Peer.UID = e.Time.Add(after), "u"
				f = r.Observe(e)[0]
			}
			says := strings.Contains(strings.Join(f.Evidence, "\n"), "shop/web had begun 24s before")
			if f.Severity != c.want || says != c.says {
				t.Errorf("%s, %q, want %s", f.Severity, f.Evidence, c.want)
			}
		})
	}
}

func TestRefusalsBecomeAWarningWhenTheyGoOn(t *testing.T) {
	r := NewResets(NewState(), false)
	var severities []event.Severity
	for _, after := range []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second} {
		e := resetEvent(event.Reset{Sender: event.SenderKernel, Cause: event.ResetRefused})
		e.Time = e.Time.Add(after)
		severities = append(severities, NewState().graded(r.Observe(e), e.Time)[0].Severity)
	}
	if want := []event.Severity{event.Info, event.Info, event.Info, event.Warning}; !slices.Equal(severities, want) {
		t.Errorf("got %v, want %v", severities, want)
	}
	r.Flush(time.Unix(1002, 0).Add(forgetAfter+time.Second), false)
	if r.refused.Len() != 0 {
		t.Error("an old refusal is still remembered")
	}
}

func TestTheRuleThatRejectsIsNamed(t *testing.T) {
	r := NewResets(NewState(), false)
	dropped := triggerSYN()
	place := event.Header{Netns: 9, Ifindex: 3}
	r.Observe(event.Event{Body: event.Fact{DropRules: &event.DropRules{
		About:      event.KeyOf(event.Event{Header: place, Packet: dropped}),
		Confidence: event.Certain,
		Candidates: []event.Candidate{{RuleFact: event.RuleFact{System: "nftables", Table: "t", Chain: "c", Text: "reject with tcp reset"}}},
	}}})
	found := r.Observe(resetEvent(event.Reset{
		Sender: event.SenderFirewall, Cause: event.ResetRejected, Drop: &event.Drop{}, Dropped: dropped, DropAt: place,
	}))
	if len(found) != 1 || found[0].Confidence != event.Certain || !strings.Contains(strings.Join(found[0].Evidence, "\n"), "nftables t c: reject with tcp reset") {
		t.Errorf("got %+v", found)
	}
}

func TestTheProcessThatDoesNotReadIsNamed(t *testing.T) {
	local := netip.MustParseAddrPort("10.244.1.2:53")
	full := event.Event{
		Header: event.Header{Netns: 7},
		Packet: &packet.Packet{Proto: "udp", Dst: local.Addr(), Dport: local.Port()},
		Body:   event.Sock{Op: event.SockBufferFull, Proto: "udp", Local: local, Count: 1},
	}
	r := NewSockets(NewState())
	r.Observe(event.Event{Body: event.Fact{Socket: &event.Socket{About: event.KeyOf(full), Found: true, PID: 5, Comm: "dnsd"}}})
	found := r.Observe(full)
	if len(found) != 1 || !strings.Contains(strings.Join(found[0].Evidence, "\n"), "dnsd/5") {
		t.Errorf("got %+v", found)
	}
}

func TestSocketFindings(t *testing.T) {
	at := event.Header{Time: time.Unix(1000, 0), Netns: 7}
	local := netip.MustParseAddrPort("10.244.1.2:53")
	for _, c := range []struct {
		name   string
		events []event.Event
		id     string
		count  uint64
	}{
		{"a full receive buffer", []event.Event{{Header: at, Body: event.Sock{Op: event.SockBufferFull, Proto: "udp", Local: local, Queued: 9, Buffer: 8, Count: 5}}},
			"socket-buffer-full", 5},
		{"a SYN lost to a full queue", []event.Event{{Header: at, Body: event.Sock{Op: event.SockSynLost, Local: local, Backlog: 2, Limit: 1, Count: 1}}},
			"accept-queue-full", 1},
		{"a SYN-ACK sent again by a listener with a full queue", []event.Event{{Header: at, Body: event.Sock{Op: event.SockSynackRetransmit, Local: local, Backlog: 2, Limit: 1, Count: 1}}},
			"accept-queue-full", 1},
		{"a SYN-ACK sent again because it was lost", []event.Event{{Header: at, Body: event.Sock{Op: event.SockSynackRetransmit, Local: local, Backlog: 1, Limit: 1, Count: 1}}}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewSockets(NewState())
			var found []event.Finding
			for _, e := range c.events {
				found = append(found, r.Observe(e)...)
			}
			if c.id == "" {
				if len(found) > 0 {
					t.Errorf("claims %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].ID != c.id || found[0].Count != c.count || found[0].Confidence != event.Certain || len(found[0].Evidence) == 0 {
				t.Errorf("got %+v, want %d of %s", found, c.count, c.id)
			}
		})
	}
}

// TestADroppedResetIsInformation, unless it is the answer to a SYN, whose sender waits for it.
func TestADroppedResetIsInformation(t *testing.T) {
	for flags, want := range map[string]event.Severity{"S": event.Critical, "R": event.Info} {
		p := answering(flags)
		at := event.Header{Netns: 7, Ifindex: 2, Time: time.Unix(1000, 0)}
		state := NewState()
		state.Observe(event.Event{Body: event.Fact{DropRules: &event.DropRules{
			About: event.KeyOf(event.Event{Header: at, Packet: p}), Confidence: event.Certain,
			Candidates: []event.Candidate{{RuleFact: event.RuleFact{System: "nftables", Table: "t", Chain: "c", Verdict: "drop", Text: "drop"}}},
		}}})
		f, ok := state.Proves(event.Event{Header: at, Packet: p}, event.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain"})
		if !ok || f.ID != "netfilter-drop" || f.Severity != want {
			t.Errorf("[%s] dropped: %s %s, want netfilter-drop %s", flags, f.ID, f.Severity, want)
		}
	}
}
