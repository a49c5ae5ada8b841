package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder"
)

func connection() decoder.FlowTuple {
	return decoder.FlowTuple{Src: netip.MustParseAddrPort("10.9.0.2:80"), Dst: netip.MustParseAddrPort("10.244.1.2:40000")}
}

func resetEvent(b decoder.Reset) decoder.Event {
	if b.Connection == (decoder.FlowTuple{}) {
		b.Connection = connection()
	}
	if b.Reason == "" {
		b.Reason = "not-told"
	}
	return decoder.Event{
		Header: decoder.Header{Time: time.Unix(1000, 0), Netns: 7, PID: 42, Comm: "web"},
		Pod:    decoder.Pod{Namespace: "shop", Name: "cart"}, Peer: decoder.Pod{Namespace: "shop", Name: "web"},
		Packet: &decoder.Packet{Proto: "tcp"}, Body: b,
	}
}

func sent(s decoder.Sock) *decoder.Sock { s.Op = decoder.SockResetSent; return &s }

func received(s decoder.Sock) *decoder.Sock { s.Op = decoder.SockResetReceived; return &s }

// resetCase is a reset and what is to be said of it.
type resetCase struct {
	name       string
	reset      decoder.Reset
	id         string // "" if there is nothing to say
	severity   decoder.Severity
	confidence decoder.Confidence
	says       string // part of title or evidence
}

// triggerSYN is one from the client to the server.
func triggerSYN() *decoder.Packet {
	f := connection().Reverse()
	return &decoder.Packet{Proto: "tcp", Flags: "S", Src: f.Src.Addr(), Sport: f.Src.Port(), Dst: f.Dst.Addr(), Dport: f.Dst.Port()}
}

// answering is a packet from the server to the client.
func answering(flags string) *decoder.Packet {
	f := connection()
	return &decoder.Packet{Proto: "tcp", Flags: flags, Src: f.Src.Addr(), Sport: f.Src.Port(), Dst: f.Dst.Addr(), Dport: f.Dst.Port()}
}

// parting makes a socket one that is closed with so much unread, after it had read as much and sent an answer.
func parting(unread uint32, answer uint64) *decoder.Sock {
	return sent(decoder.Sock{Closing: true, Unread: unread, Received: uint64(unread) + 200, Sent: answer})
}

// late is what resets a packet of that length, which came after the socket was closed.
func late(length uint32) *decoder.Sock {
	p := triggerSYN()
	p.Flags, p.Len = "P.", length
	return sent(decoder.Sock{Trigger: p, Sent: 300, Received: 300})
}

// used makes a socket one that is closed after it sent and received.
func used(s decoder.Sock) *decoder.Sock {
	s.Sent, s.Received, s.Closing = 10, 20, true
	return sent(s)
}

func TestFindingsAboutUnknownConnections(t *testing.T) {
	testResets(t, []resetCase{
		{"one refusal", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetRefused, Sent: sent(decoder.Sock{Trigger: triggerSYN()})},
			"connection-refused", decoder.Info, decoder.Certain, "shop/web (10.9.0.2:80)"},
		{"a refusal of a backend that was not seen", decoder.Reset{Sender: decoder.SenderPeer, Cause: decoder.ResetRefused, Received: received(decoder.Sock{State: "SYN_SENT"}),
			Connection: decoder.FlowTuple{Src: netip.MustParseAddrPort("10.96.0.1:80"), Dst: connection().Dst}, Backend: connection().Src, BackendPod: "shop/web-1"},
			"connection-refused", decoder.Info, decoder.Likely, "10.9.0.2:80"},
		{"a reset that begins here though the kernel reports none", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetRefused, From: 7, Guessed: true},
			"connection-refused", decoder.Info, decoder.Likely, "or by a firewall"},
		{"a reset that begins where the address is not", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetRefused, From: 8},
			"connection-refused", decoder.Info, decoder.Likely, "or by a firewall"},
		{"a reset that begins where the address is", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetRefused, From: 7},
			"connection-refused", decoder.Info, decoder.Certain, "nothing listens on"},
		{"a refusal from elsewhere", decoder.Reset{Sender: decoder.SenderPeer, Cause: decoder.ResetRefused, Received: received(decoder.Sock{State: "SYN_SENT"})},
			"connection-refused", decoder.Info, decoder.Likely, "10.9.0.2:80"},
		{"stale, a client waits", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetStale, Sent: sent(decoder.Sock{Trigger: triggerSYN()}),
			Received: received(decoder.Sock{State: "ESTABLISHED", Idle: 90 * time.Second})},
			"reset-stale-connection", decoder.Warning, decoder.Certain, "last heard 1m30s before"},
		{"stale, nobody here waits", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetStale, Sent: sent(decoder.Sock{Trigger: triggerSYN()})},
			"reset-stale-connection", decoder.Info, decoder.Certain, ""},
		{"stale, after the other end said that it closes", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetStale, Sent: sent(decoder.Sock{State: "TIME_WAIT", Trigger: triggerSYN()}),
			Received: received(decoder.Sock{State: "CLOSE_WAIT"})},
			"reset-stale-connection", decoder.Info, decoder.Certain, "was in TIME_WAIT"},
	})
}

func TestFindingsAboutResetsByApplications(t *testing.T) {
	testResets(t, []resetCase{
		{"data unread", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: used(decoder.Sock{Unread: 23})},
			"reset-by-application", decoder.Warning, decoder.Certain, "web/42 of shop/web (10.9.0.2:80) closed the socket with 23 bytes unread"},
		{"data unread of a peer that had closed", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "FIN_WAIT2", Sent: used(decoder.Sock{Unread: 23})},
			"reset-by-application", decoder.Info, decoder.Certain, ""},
		{"data unread of a peer that has said all, and waits for its answer", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "FIN_WAIT2",
			Sent:     sent(decoder.Sock{State: "CLOSE_WAIT", Closing: true, Unread: 23, Received: 33}),
			Received: received(decoder.Sock{State: "FIN_WAIT2", Inode: 7})}, "reset-by-application", decoder.Warning, decoder.Certain, "connection was FIN_WAIT2"},
		{"data unread of a peer that is closed altogether", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "FIN_WAIT2",
			Sent:     sent(decoder.Sock{State: "CLOSE_WAIT", Closing: true, Unread: 23, Received: 33}),
			Received: received(decoder.Sock{State: "FIN_WAIT2"})}, "reset-by-application", decoder.Info, decoder.Certain, ""},
		{"data unread by a client", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: used(decoder.Sock{Unread: 24}),
			Connection: decoder.FlowTuple{Src: connection().Dst, Dst: connection().Src}}, "reset-by-application", decoder.Info, decoder.Certain, ""},
		{"a good-bye unread at the end of a stream", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: parting(31, 500),
			Received: received(decoder.Sock{State: "ESTABLISHED", Received: 500})}, "reset-by-application", decoder.Info, decoder.Certain, "31 bytes unread"},
		{"a good-bye unread, and the answer on its way", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: parting(31, 500),
			Received: received(decoder.Sock{State: "ESTABLISHED", Received: 100})}, "reset-by-application", decoder.Warning, decoder.Certain, ""},
		{"the good-byes of several streams", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED",
			Sent:     sent(decoder.Sock{Closing: true, Unread: 302, Received: 4447, Sent: 4198}),
			Received: received(decoder.Sock{State: "ESTABLISHED", Received: 4198})}, "reset-by-application", decoder.Info, decoder.Certain, "302 bytes unread"},
		{"a second request as long as the first", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED",
			Sent:     sent(decoder.Sock{Closing: true, Unread: 300, Received: 600, Sent: 500}),
			Received: received(decoder.Sock{State: "ESTABLISHED", Received: 500})}, "reset-by-application", decoder.Warning, decoder.Certain, ""},
		{"a short question, the first of all, unread", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: parting(31, 0)},
			"reset-by-application", decoder.Warning, decoder.Certain, ""},
		{"a server is known by who began, not by its port", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: used(decoder.Sock{Unread: 100}),
			Server: connection().Dst}, "reset-by-application", decoder.Info, decoder.Certain, ""},
		{"a request that meets the close of a connection that was kept", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetEarly, State: "CLOSE_WAIT",
			Sent: late(300), Received: received(decoder.Sock{State: "CLOSE_WAIT"})}, "reset-by-application", decoder.Warning, decoder.Certain, "after it had closed"},
		{"a short one, and the client waits", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetEarly, State: "CLOSE_WAIT",
			Sent: late(72), Received: received(decoder.Sock{State: "CLOSE_WAIT", Idle: 200 * time.Millisecond})}, "reset-by-application", decoder.Warning, decoder.Certain, ""},
		{"a good-bye after the close", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetEarly, State: "CLOSE_WAIT",
			Sent: late(52 + 31), Received: received(decoder.Sock{State: "CLOSE_WAIT"})}, "reset-by-application", decoder.Info, decoder.Certain, ""},
		{"linger 0", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetLinger, State: "ESTABLISHED", Sent: used(decoder.Sock{})},
			"reset-by-application", decoder.Warning, decoder.Certain, "SO_LINGER"},
		{"linger 0 of a health check", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetLinger, State: "ESTABLISHED", Sent: sent(decoder.Sock{Closing: true})},
			"reset-by-application", decoder.Info, decoder.Certain, ""},
		{"killed by SIGKILL", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetKilled, State: "ESTABLISHED", Sent: used(decoder.Sock{Exiting: true, Signal: 9})},
			"reset-by-application", decoder.Warning, decoder.Certain, "signal 9"},
		{"a client whose output nobody reads any more", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetKilled, State: "ESTABLISHED",
			Sent: used(decoder.Sock{Exiting: true, Signal: 13}), Server: connection().Dst}, "reset-by-application", decoder.Info, decoder.Certain, "signal 13"},
		{"a server that SIGPIPE ends", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetKilled, State: "ESTABLISHED",
			Sent: used(decoder.Sock{Exiting: true, Signal: 13}), Server: connection().Src}, "reset-by-application", decoder.Warning, decoder.Certain, "signal 13"},
		{"asked to end by SIGTERM", decoder.Reset{Sender: decoder.SenderApp, Cause: decoder.ResetKilled, State: "ESTABLISHED", Sent: used(decoder.Sock{Exiting: true, Signal: 15})},
			"reset-by-application", decoder.Info, decoder.Certain, ""},
	})
}

func TestFindingsAboutResetsOnTheWay(t *testing.T) {
	testResets(t, []resetCase{
		{"rejected", decoder.Reset{Sender: decoder.SenderFirewall, Cause: decoder.ResetRejected, Drop: &decoder.Drop{Location: "nft_do_chain"}, Dropped: triggerSYN()},
			"reset-by-firewall", decoder.Warning, decoder.Likely, "dropped by netfilter (nft_do_chain)"},
		{"forged from four hops nearer", decoder.Reset{Sender: decoder.SenderMiddlebox, Cause: decoder.ResetForged, TTL: &decoder.TTLs{Reset: 61, Peer: 57},
			Received: received(decoder.Sock{State: "ESTABLISHED", Sent: 20})},
			"reset-by-middlebox", decoder.Warning, decoder.Likely, "typical of a layer-7 firewall"},
		{"an answer that was not translated", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetUntranslated, Connection: connection().Reverse(),
			Original: decoder.FlowTuple{Src: connection().Dst, Dst: netip.MustParseAddrPort("10.96.0.1:80")}, Sent: sent(decoder.Sock{Trigger: answering("P.")})},
			"conntrack-invalid", decoder.Warning, decoder.Likely, "from 10.9.0.2:80, expected from 10.96.0.1:80"},
		{"the first answer was not translated", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetUntranslated, Connection: connection().Reverse(),
			Original: decoder.FlowTuple{Src: connection().Dst, Dst: netip.MustParseAddrPort("10.96.0.1:80")}, Sent: sent(decoder.Sock{Trigger: answering("S.")})},
			"service-reply-not-untranslated", decoder.Critical, decoder.Certain, "expected from 10.96.0.1:80"},
		{"a SYN that meets an older connection", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetOlder, Connection: connection().Reverse(),
			Sent: sent(decoder.Sock{State: "SYN_SENT", Trigger: answering(".")})}, "connect-no-response", decoder.Warning, decoder.Likely, "shop/web (10.244.1.2:40000) cannot connect to shop/cart (10.9.0.2:80)"},
		{"a TTL that differs by one", decoder.Reset{Sender: decoder.SenderMiddlebox, Cause: decoder.ResetForged, TTL: &decoder.TTLs{Reset: 58, Peer: 57}},
			"reset-by-middlebox", decoder.Warning, decoder.Possible, "TTL 58"},
		{"accepted after the reset", decoder.Reset{Sender: decoder.SenderMiddlebox, Cause: decoder.ResetForged, Answered: true},
			"reset-by-middlebox", decoder.Warning, decoder.Likely, "accepted the connection"},
		{"an overflow", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetOverflow, Sent: sent(decoder.Sock{Local: connection().Src, Backlog: 2, Limit: 1})},
			"accept-queue-full", decoder.Warning, decoder.Certain, "tcp_abort_on_overflow"},
		{"from elsewhere after a long silence", decoder.Reset{Sender: decoder.SenderPeer, Cause: decoder.ResetUnknown, Received: received(decoder.Sock{State: "ESTABLISHED", Idle: 6 * time.Minute})},
			"reset-stale-connection", decoder.Warning, decoder.Likely, "6m0s"},
		{"from elsewhere in the middle of things", decoder.Reset{Sender: decoder.SenderPeer, Cause: decoder.ResetUnknown, Received: received(decoder.Sock{State: "ESTABLISHED", Idle: time.Second})}, "", "", "", ""},
		{"keepalive", decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetTimeout, Sent: sent(decoder.Sock{})}, "", "", "", ""},
	})
}

func testResets(t *testing.T, cases []resetCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			state.Observe(decoder.Event{Body: decoder.Fact{Device: &decoder.Device{Netns: 7, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(connection().Src.Addr(), 24)}}}})
			found := NewResets(state, false).Observe(resetEvent(c.reset))
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

func (c resetCase) check(t *testing.T, f decoder.Finding) {
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
}

// TestANewPodMayRefuse: until it has had its time to start. Of one that was there before it is not known when it began.
func TestANewPodMayRefuse(t *testing.T) {
	start := resetEvent(decoder.Reset{}).Time
	for _, c := range []struct {
		name  string
		began time.Duration // after the first refusal; 0 is not known
		last  time.Duration
		want  decoder.Severity
		says  bool
	}{
		{"new", -4 * time.Second, 20 * time.Second, decoder.Info, true},
		{"no longer new", -4 * time.Second, 40 * time.Second, decoder.Warning, false},
		{"it is not known when it began", 0, 20 * time.Second, decoder.Warning, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			fact := &decoder.PodFact{UID: "u", Namespace: "shop", Name: "web", Source: "netns", Netns: 7}
			if c.began != 0 {
				fact.At = time.Duration(start.Add(c.began).UnixNano())
			}
			state.Observe(decoder.Event{Body: decoder.Fact{Pod: fact}})
			r := NewResets(state, false)
			var f decoder.Finding
			for _, after := range []time.Duration{0, 10 * time.Second, c.last} {
				e := resetEvent(decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetRefused})
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
	var severities []decoder.Severity
	for _, after := range []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second} {
		e := resetEvent(decoder.Reset{Sender: decoder.SenderKernel, Cause: decoder.ResetRefused})
		e.Time = e.Time.Add(after)
		severities = append(severities, r.Observe(e)[0].Severity)
	}
	if want := []decoder.Severity{decoder.Info, decoder.Info, decoder.Info, decoder.Warning}; !slices.Equal(severities, want) {
		t.Errorf("got %v, want %v", severities, want)
	}
	r.Flush(time.Unix(1002, 0).Add(forgetAfter+time.Second), false)
	if len(r.refused) != 0 {
		t.Error("an old refusal is still remembered")
	}
}

func TestTheRuleThatRejectsIsNamed(t *testing.T) {
	r := NewResets(NewState(), false)
	dropped := triggerSYN()
	place := decoder.Header{Netns: 9, Ifindex: 3}
	r.Observe(decoder.Event{Body: decoder.Fact{Blame: &decoder.Blame{
		About:      decoder.Ask(decoder.Event{Header: place, Packet: dropped}),
		Confidence: decoder.Certain,
		Suspects:   []decoder.Suspect{{RuleFact: decoder.RuleFact{System: "nftables", Table: "t", Chain: "c", Text: "reject with tcp reset"}}},
	}}})
	found := r.Observe(resetEvent(decoder.Reset{
		Sender: decoder.SenderFirewall, Cause: decoder.ResetRejected, Drop: &decoder.Drop{}, Dropped: dropped, DropAt: place,
	}))
	if len(found) != 1 || found[0].Confidence != decoder.Certain || !strings.Contains(strings.Join(found[0].Evidence, "\n"), "nftables t c: reject with tcp reset") {
		t.Errorf("got %+v", found)
	}
}

func TestTheProcessThatDoesNotReadIsNamed(t *testing.T) {
	local := netip.MustParseAddrPort("10.244.1.2:53")
	full := decoder.Event{
		Header: decoder.Header{Netns: 7},
		Packet: &decoder.Packet{Proto: "udp", Dst: local.Addr(), Dport: local.Port()},
		Body:   decoder.Sock{Op: decoder.SockBufferFull, Proto: "udp", Local: local, Count: 1},
	}
	r := NewSockets()
	r.Observe(decoder.Event{Body: decoder.Fact{Socket: &decoder.Socket{About: decoder.Ask(full), Found: true, PID: 5, Comm: "dnsd"}}})
	found := r.Observe(full)
	if len(found) != 1 || !strings.Contains(strings.Join(found[0].Evidence, "\n"), "dnsd/5") {
		t.Errorf("got %+v", found)
	}
}

func TestSocketFindings(t *testing.T) {
	at := decoder.Header{Time: time.Unix(1000, 0), Netns: 7}
	local := netip.MustParseAddrPort("10.244.1.2:53")
	for _, c := range []struct {
		name   string
		events []decoder.Event
		id     string
		count  uint64
	}{
		{"a full receive buffer", []decoder.Event{{Header: at, Body: decoder.Sock{Op: decoder.SockBufferFull, Proto: "udp", Local: local, Queued: 9, Buffer: 8, Count: 5}}},
			"socket-buffer-full", 5},
		{"a SYN lost to a full queue", []decoder.Event{{Header: at, Body: decoder.Sock{Op: decoder.SockSynLost, Local: local, Backlog: 2, Limit: 1, Count: 1}}},
			"accept-queue-full", 1},
		{"a SYN-ACK sent again by a listener with a full queue", []decoder.Event{{Header: at, Body: decoder.Sock{Op: decoder.SockSynackResent, Local: local, Backlog: 2, Limit: 1, Count: 1}}},
			"accept-queue-full", 1},
		{"a SYN-ACK sent again because it was lost", []decoder.Event{{Header: at, Body: decoder.Sock{Op: decoder.SockSynackResent, Local: local, Backlog: 1, Limit: 1, Count: 1}}}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewSockets()
			var found []decoder.Finding
			for _, e := range c.events {
				found = append(found, r.Observe(e)...)
			}
			if c.id == "" {
				if len(found) > 0 {
					t.Errorf("claims %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].ID != c.id || found[0].Count != c.count || found[0].Confidence != decoder.Certain || len(found[0].Evidence) == 0 {
				t.Errorf("got %+v, want %d of %s", found, c.count, c.id)
			}
		})
	}
}

// TestADroppedResetIsInformation, unless it is the answer to a SYN, whose sender waits for it.
func TestADroppedResetIsInformation(t *testing.T) {
	for flags, want := range map[string]decoder.Severity{"S": decoder.Critical, "R": decoder.Info} {
		p := answering(flags)
		at := decoder.Header{Netns: 7, Ifindex: 2, Time: time.Unix(1000, 0)}
		state := NewState()
		state.Observe(decoder.Event{Body: decoder.Fact{Blame: &decoder.Blame{
			About: decoder.Ask(decoder.Event{Header: at, Packet: p}), Confidence: decoder.Certain,
			Suspects: []decoder.Suspect{{RuleFact: decoder.RuleFact{System: "nftables", Table: "t", Chain: "c", Verdict: "drop", Text: "drop"}}},
		}}})
		f, ok := state.Proves(decoder.Event{Header: at, Packet: p}, decoder.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain"})
		if !ok || f.ID != "netfilter-drop" || f.Severity != want {
			t.Errorf("[%s] dropped: %s %s, want netfilter-drop %s", flags, f.ID, f.Severity, want)
		}
	}
}
