package decoder

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

const (
	resetClient = "10.244.1.2:40000"
	resetServer = "10.9.0.2:80"
	resetVIP    = "10.96.0.1:80"
)

// seq makes events in the order of its calls, a millisecond apart.
type seq struct{ now time.Time }

func (s *seq) at(netns uint32, p *Packet, b Body) Event {
	s.now = s.now.Add(time.Millisecond)
	return Event{Header: Header{Time: s.now, Netns: netns, Ifindex: 2}, Packet: p, Body: b}
}

const (
	clientNetns, nodeNetns, serverNetns = 1, 2, 3
)

func (s *seq) hop(netns uint32, way Direction, ttl uint8, src, dst, flags string) Event {
	p := bare("tcp", flowOf(src, dst), flags)
	p.TTL = ttl
	e := s.at(netns, p, Hop{})
	e.Direction = way
	return e
}

func (s *seq) sent(k Sock, trigger string) Event {
	k.Op, k.Count = SockResetSent, 1
	p := bare("tcp", flowOf(resetServer, resetClient), "R")
	if trigger != "" {
		k.Trigger = bare("tcp", flowOf(resetClient, resetServer), trigger)
	}
	if k.State != "" {
		k.Local, k.Remote = p.Source(), p.Destination()
	}
	e := s.at(serverNetns, p, k)
	if k.Closing {
		e.PID, e.Comm = 7, "web"
	}
	return e
}

func (s *seq) received(k Sock, from string) Event {
	k.Op, k.Count = SockResetReceived, 1
	p := bare("tcp", flowOf(from, resetClient), "R")
	k.Local, k.Remote = p.Destination(), p.Source()
	return s.at(clientNetns, p, k)
}

// silent is a node of before 6.10.
func (s *seq) silent() Event { return s.at(0, nil, Fact{Node: &Node{}}) }

func (s *seq) reject(flags string) Event {
	return s.at(nodeNetns, bare("tcp", flowOf(resetClient, resetServer), flags), Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain"})
}

// resetCase is a reset as a stream tells it, and who is to be blamed for what.
type resetCase struct {
	name   string
	events func(*seq) []Event
	sender ResetSender
	cause  ResetCause
	state  string
}

// resetsThatSocketsExplain are those that an end of the connection says all of.
func resetsThatSocketsExplain() []resetCase {
	return []resetCase{
		{"nothing listens, both ends on this node", func(s *seq) []Event {
			return []Event{
				s.hop(clientNetns, Out, 64, resetClient, resetServer, "S"),
				s.sent(Sock{Reason: "NO_SOCKET"}, "S"),
				s.hop(serverNetns, Out, 64, resetServer, resetClient, "R."),
				s.hop(clientNetns, In, 63, resetServer, resetClient, "R."),
				s.received(Sock{State: "SYN_SENT"}, resetServer),
			}
		}, SenderKernel, ResetRefused, "SYN_SENT"},
		{"nothing listens, on another node", func(s *seq) []Event {
			return []Event{s.received(Sock{State: "SYN_SENT"}, resetServer)}
		}, SenderPeer, ResetRefused, "SYN_SENT"},
		{"the connection is not known any more", func(s *seq) []Event {
			return []Event{s.sent(Sock{Reason: "NO_SOCKET"}, "P."), s.received(Sock{State: "ESTABLISHED"}, resetServer)}
		}, SenderKernel, ResetStale, "ESTABLISHED"},
		{"the connection is not known any more, but somebody listens", func(s *seq) []Event {
			return []Event{s.sent(Sock{Reason: "TCP_FLAGS", State: "LISTEN", Limit: 128}, "."), s.received(Sock{State: "ESTABLISHED"}, resetServer)}
		}, SenderKernel, ResetStale, "ESTABLISHED"},
		{"a full accept queue resets", func(s *seq) []Event {
			return []Event{s.sent(Sock{State: "LISTEN", Backlog: 2, Limit: 1}, "."), s.received(Sock{State: "ESTABLISHED"}, resetServer)}
		}, SenderKernel, ResetOverflow, "ESTABLISHED"},
		{"closed with data unread, told when the packet is out and has arrived", func(s *seq) []Event {
			return []Event{
				s.hop(serverNetns, Out, 64, resetServer, resetClient, "R."),
				s.received(Sock{State: "ESTABLISHED"}, resetServer),
				s.sent(Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Unread: 9}, ""),
			}
		}, SenderApp, ResetUnread, "ESTABLISHED"},
		{"killed, told when the packet is out, by a task that had no CPU for a while", func(s *seq) []Event {
			out := s.hop(serverNetns, Out, 64, resetServer, resetClient, "R.")
			in := s.received(Sock{State: "ESTABLISHED"}, resetServer)
			s.now = s.now.Add(40 * time.Millisecond)
			return []Event{out, in, s.sent(Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Exiting: true, Signal: 9}, "")}
		}, SenderApp, ResetKilled, "ESTABLISHED"},
		{"closed with data unread, and a listener answered what came before that was told", func(s *seq) []Event {
			return []Event{
				s.hop(serverNetns, Out, 64, resetServer, resetClient, "R."),
				s.sent(Sock{Reason: "TCP_FLAGS", State: "LISTEN", Limit: 128}, "F."),
				s.received(Sock{State: "FIN_WAIT1"}, resetServer),
				s.sent(Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Unread: 9}, ""),
			}
		}, SenderApp, ResetUnread, "FIN_WAIT1"},
		{"closed with data unread, before kernels told the reason", func(s *seq) []Event {
			return []Event{s.sent(Sock{State: "ESTABLISHED", Closing: true, Unread: 9}, "")}
		}, SenderApp, ResetUnread, "ESTABLISHED"},
		{"linger 0", func(s *seq) []Event {
			return []Event{s.sent(Sock{Reason: "TCP_STATE", State: "ESTABLISHED", Closing: true, LingerNo: true}, "")}
		}, SenderApp, ResetLinger, "ESTABLISHED"},
		{"killed", func(s *seq) []Event {
			return []Event{s.sent(Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Exiting: true, Signal: 9}, "")}
		}, SenderApp, ResetKilled, "ESTABLISHED"},
		{"data after close, of which the kernel also says that a reset was received", func(s *seq) []Event {
			own := s.at(serverNetns, bare("tcp", flowOf(resetClient, resetServer), "R"), Sock{Op: SockResetReceived, State: "FIN_WAIT2", Count: 1})
			return []Event{own, s.sent(Sock{Reason: "TCP_ABORT_ON_DATA", State: "CLOSE"}, "P."), s.received(Sock{State: "CLOSE_WAIT"}, resetServer)}
		}, SenderApp, ResetEarly, "CLOSE_WAIT"},
		{"destroyed from outside", func(s *seq) []Event {
			sent := s.sent(Sock{Reason: "TCP_STATE", State: "ESTABLISHED"}, "")
			return []Event{sent, s.at(serverNetns, sent.Packet, Sock{Op: SockError, Error: "ECONNABORTED", Count: 1})}
		}, SenderKernel, ResetDestroyed, "ESTABLISHED"},
		{"the server answers a SYN for an older connection", func(s *seq) []Event {
			return []Event{s.sent(Sock{Reason: "TCP_FLAGS", State: "SYN_SENT"}, ".")}
		}, SenderKernel, ResetOlder, "SYN_SENT"},
		{"keepalive", func(s *seq) []Event {
			return []Event{s.sent(Sock{Reason: "TCP_KEEPALIVE_TIMEOUT", State: "ESTABLISHED"}, "")}
		}, SenderKernel, ResetTimeout, "ESTABLISHED"},
	}
}

// resetsThatProveNothing look forged, or made here, and need not be.
func resetsThatProveNothing() []resetCase {
	scan := func(ttl uint8) func(*seq) []Event {
		return func(s *seq) []Event {
			return []Event{
				s.hop(serverNetns, In, ttl, resetClient, resetServer, "S"),
				s.hop(serverNetns, Out, 64, resetServer, resetClient, "S."),
				s.hop(serverNetns, In, 61, resetClient, resetServer, "R"),
			}
		}
	}
	return []resetCase{
		{"a half-open probe, whose SYN is made by hand", scan(254), SenderPeer, ResetUnknown, ""},
		{"a SYN of a scan, of any TTL", scan(37), SenderPeer, ResetUnknown, ""},
		{"half-open probes from one port, the first of which was refused", func(s *seq) []Event {
			return []Event{
				s.hop(clientNetns, Out, 64, resetClient, resetServer, "S"),
				s.hop(clientNetns, In, 57, resetServer, resetClient, "R."),
				s.received(Sock{State: "SYN_SENT"}, resetServer),
				s.hop(clientNetns, Out, 64, resetClient, resetServer, "S"),
				s.hop(clientNetns, In, 57, resetServer, resetClient, "S."),
			}
		}, SenderPeer, ResetRefused, "SYN_SENT"},
		{"a server behind each of two ways, asked from one port", func(s *seq) []Event {
			return []Event{
				s.hop(clientNetns, In, 57, resetServer, resetClient, "S."),
				s.hop(clientNetns, Out, 64, resetClient, resetServer, "S"),
				s.hop(clientNetns, In, 60, resetServer, resetClient, "R."),
				s.received(Sock{State: "SYN_SENT"}, resetServer),
			}
		}, SenderPeer, ResetRefused, "SYN_SENT"},
		{"one router behind 255, and one behind 64", func(s *seq) []Event {
			return []Event{
				s.hop(clientNetns, In, 63, resetServer, resetClient, "S."),
				s.hop(clientNetns, In, 254, resetServer, resetClient, "R."),
				s.received(Sock{State: "ESTABLISHED", Sent: 20}, resetServer),
			}
		}, SenderPeer, ResetUnknown, "ESTABLISHED"},
		{"one that leaves translated, and may have come under another name", func(s *seq) []Event {
			out := s.hop(nodeNetns, Out, 63, resetVIP, resetClient, "R.")
			out.Body = Hop{Conntrack: NewConntrack(flowOf(resetClient, resetVIP), flowOf(resetServer, resetClient))}
			return []Event{out, s.received(Sock{State: "SYN_SENT"}, resetVIP)}
		}, SenderPeer, ResetRefused, "SYN_SENT"},
		{"one that leaves a device of a capture", func(s *seq) []Event {
			out := s.hop(nodeNetns, Out, 63, resetServer, resetClient, "R.")
			out.Body = Hop{Captured: true}
			return []Event{out, s.received(Sock{State: "SYN_SENT"}, resetServer)}
		}, SenderPeer, ResetRefused, "SYN_SENT"},
	}
}

// resetsThatPacketsExplain are those of firewalls, middle boxes and silent kernels, and those behind a translation.
func resetsThatPacketsExplain() []resetCase {
	return []resetCase{
		{"rejected, the drop told last", func(s *seq) []Event {
			return []Event{
				s.hop(nodeNetns, Out, 64, resetServer, resetClient, "R."), s.received(Sock{State: "SYN_SENT"}, resetServer), s.reject("S"),
			}
		}, SenderFirewall, ResetRejected, "SYN_SENT"},
		{"rejected, the drop told first", func(s *seq) []Event {
			return []Event{s.reject("P."), s.received(Sock{State: "ESTABLISHED"}, resetServer)}
		}, SenderFirewall, ResetRejected, "ESTABLISHED"},
		{"a drop of the same direction rejects nothing", func(s *seq) []Event {
			drop := s.reject("R")
			drop.Packet = bare("tcp", flowOf(resetServer, resetClient), "R")
			return []Event{drop, s.received(Sock{State: "ESTABLISHED"}, resetServer)}
		}, SenderPeer, ResetUnknown, "ESTABLISHED"},
		{"forged with another TTL", func(s *seq) []Event {
			return []Event{
				s.hop(clientNetns, In, 57, resetServer, resetClient, "S."),
				s.hop(clientNetns, In, 61, resetServer, resetClient, "R."),
				s.received(Sock{State: "ESTABLISHED", Sent: 20}, resetServer),
			}
		}, SenderMiddlebox, ResetForged, "ESTABLISHED"},
		{"forged before the server accepts", func(s *seq) []Event {
			return []Event{
				s.hop(clientNetns, In, 57, resetServer, resetClient, "R."),
				s.received(Sock{State: "SYN_SENT"}, resetServer),
				s.hop(clientNetns, In, 57, resetServer, resetClient, "S."),
			}
		}, SenderMiddlebox, ResetForged, "SYN_SENT"},
		{"the peer's own, with the TTL of its other packets", func(s *seq) []Event {
			return []Event{
				s.hop(clientNetns, In, 57, resetServer, resetClient, "S."),
				s.hop(clientNetns, In, 57, resetServer, resetClient, "R."),
				s.received(Sock{State: "ESTABLISHED", Sent: 20}, resetServer),
			}
		}, SenderPeer, ResetUnknown, "ESTABLISHED"},
		{"nothing listens, on a kernel that does not say so", func(s *seq) []Event {
			return []Event{
				s.silent(),
				s.hop(serverNetns, Out, 64, resetServer, resetClient, "R."),
				s.received(Sock{State: "SYN_SENT"}, resetServer),
			}
		}, SenderKernel, ResetRefused, "SYN_SENT"},
		{"the connection is not known any more, on a kernel that does not say so", func(s *seq) []Event {
			return []Event{
				s.silent(),
				s.hop(serverNetns, Out, 64, resetServer, resetClient, "R."),
				s.received(Sock{State: "ESTABLISHED"}, resetServer),
			}
		}, SenderKernel, ResetStale, "ESTABLISHED"},
		{"behind translation", func(s *seq) []Event {
			translated := s.hop(nodeNetns, Out, 63, resetClient, resetServer, "S")
			ct := &Conntrack{Original: flowOf(resetClient, resetVIP), Reply: flowOf(resetServer, resetClient)}
			translated.Body = Hop{Conntrack: ct}
			return []Event{translated, s.sent(Sock{Reason: "NO_SOCKET"}, "S"), s.received(Sock{State: "SYN_SENT"}, resetVIP)}
		}, SenderKernel, ResetRefused, "SYN_SENT"},
		{"behind translation that shows late", func(s *seq) []Event {
			sent := s.sent(Sock{Reason: "NO_SOCKET"}, "P.")
			reset := s.hop(nodeNetns, In, 64, resetServer, resetClient, "R")
			ct := &Conntrack{Original: flowOf(resetClient, resetVIP), Reply: flowOf(resetServer, resetClient)}
			reset.Body = Hop{Conntrack: ct}
			return []Event{sent, reset, s.received(Sock{State: "ESTABLISHED"}, resetVIP)}
		}, SenderKernel, ResetStale, "ESTABLISHED"},
	}
}

func TestResetsAreBlamedOnTheirSenders(t *testing.T) {
	for _, c := range slices.Concat(resetsThatSocketsExplain(), resetsThatPacketsExplain(), resetsThatProveNothing()) {
		t.Run(c.name, func(t *testing.T) {
			got := replayResets(c.events(&seq{now: time.Unix(1000, 0)}))
			if len(got) != 1 {
				t.Fatalf("%d resets, want one: %v", len(got), got)
			}
			r := got[0].Body.(Reset)
			if r.Sender != c.sender || r.Cause != c.cause || r.State != c.state {
				t.Errorf("%s %s in %q, want %s %s in %q", r.Sender, r.Cause, r.State, c.sender, c.cause, c.state)
			}
			if got[0].PID != 0 && !r.Sent.Closing {
				t.Errorf("blames process %d, which closed nothing", got[0].PID)
			}
		})
	}
}

// replayResets runs events through the stage and returns the resets.
func replayResets(events []Event) []Event {
	stage, pass := NewResets(), 0
	var out []Event
	for _, e := range events {
		pass += len(stage.Observe(e))
		out = append(out, stage.Flush(e.Time, false)...)
	}
	if pass != len(events) {
		return nil // a stage that swallows what others need
	}
	return append(out, stage.Flush(events[len(events)-1].Time, true)...)
}

func TestWhatRepeatsAResetIsFolded(t *testing.T) {
	s := &seq{now: time.Unix(1000, 0)}
	events := []Event{s.sent(Sock{Reason: "TCP_STATE", State: "ESTABLISHED", Closing: true, LingerNo: true}, "")}
	s.now = s.now.Add(time.Second)
	events = append(events, s.sent(Sock{Reason: "NO_SOCKET"}, "P.")) // data that was on its way
	s.now = s.now.Add(time.Second)
	events = append(events, s.sent(Sock{Reason: "NO_SOCKET"}, "S")) // the same ports, but a new connection
	var causes []ResetCause
	for _, e := range replayResets(events) {
		causes = append(causes, e.Body.(Reset).Cause)
	}
	if len(causes) != 2 || causes[0] != ResetLinger || causes[1] != ResetRefused {
		t.Errorf("got %v, want %v", causes, []ResetCause{ResetLinger, ResetRefused})
	}
}

func TestResetsForgetConnections(t *testing.T) {
	s := &seq{now: time.Unix(1000, 0)}
	r := NewResets()
	for i := range uint16(5000) {
		client := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), 1000+i).String()
		e := s.hop(nodeNetns, In, 64, resetServer, client, "S.")
		e.Body = Hop{Conntrack: &Conntrack{Original: flowOf(client, resetVIP), Reply: flowOf(resetServer, client)}}
		r.Observe(e)
		r.Observe(s.hop(nodeNetns, In, 64, resetServer, client, "R"))
	}
	r.Flush(s.now, true)
	r.Flush(s.now.Add(memoryHold+time.Second), false)
	if n := len(r.open) + len(r.echoes) + len(r.names) + len(r.ttls); n != 0 {
		t.Errorf("%d things are still remembered", n)
	}
}
