// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

const (
	resetClient = "10.244.1.2:40000"
	resetServer = "10.9.0.2:80"
	resetVIP    = "10.96.0.1:80"
)

// seq makes events in the order of its calls, a millisecond apart.
type seq struct{ now time.Time }

func (s *seq) at(netns uint32, p *packet.Packet, b event.Body) event.Event {
	s.now = s.now.Add(time.Millisecond)
	return event.Event{Header: event.Header{Time: s.now, Netns: netns, Ifindex: 2}, Packet: p, Body: b}
}

const (
	clientNetns, nodeNetns, serverNetns = 1, 2, 3
)

func (s *seq) hop(netns uint32, way event.Direction, ttl uint8, src, dst, flags string) event.Event {
	p := packet.OfFlow("tcp", eventtest.Flow(src, dst), flags)
	p.TTL = ttl
	e := s.at(netns, p, event.Hop{})
	e.Direction = way
	return e
}

func (s *seq) sent(k event.Sock, trigger string) event.Event {
	k.Op, k.Count = event.SockResetSent, 1
	p := packet.OfFlow("tcp", eventtest.Flow(resetServer, resetClient), "R")
	if trigger != "" {
		k.Trigger = packet.OfFlow("tcp", eventtest.Flow(resetClient, resetServer), trigger)
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

func (s *seq) received(k event.Sock, from string) event.Event {
	k.Op, k.Count = event.SockResetReceived, 1
	p := packet.OfFlow("tcp", eventtest.Flow(from, resetClient), "R")
	k.Local, k.Remote = p.Destination(), p.Source()
	return s.at(clientNetns, p, k)
}

// silent is a node of before 6.10.
func (s *seq) silent() event.Event { return s.at(0, nil, event.Fact{Node: &event.Node{}}) }

func (s *seq) reject(flags string) event.Event {
	return s.at(nodeNetns, packet.OfFlow("tcp", eventtest.Flow(resetClient, resetServer), flags), event.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain"})
}

// resetCase is a reset as a stream reports it, and the sender and cause that are wanted.
type resetCase struct {
	name   string
	events func(*seq) []event.Event
	sender event.ResetSender
	cause  event.ResetCause
	state  string
}

// resetsThatSocketsExplain are those that an end of the connection says all of.
func resetsThatSocketsExplain() []resetCase {
	return []resetCase{
		{"nothing listens, both ends on this node", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(clientNetns, event.Out, 64, resetClient, resetServer, "S"),
				s.sent(event.Sock{Reason: "NO_SOCKET"}, "S"),
				s.hop(serverNetns, event.Out, 64, resetServer, resetClient, "R."),
				s.hop(clientNetns, event.In, 63, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "SYN_SENT"}, resetServer),
			}
		}, event.SenderKernel, event.ResetRefused, "SYN_SENT"},
		{"nothing listens, on another node", func(s *seq) []event.Event {
			return []event.Event{s.received(event.Sock{State: "SYN_SENT"}, resetServer)}
		}, event.SenderPeer, event.ResetRefused, "SYN_SENT"},
		{"the connection is not known any more", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{Reason: "NO_SOCKET"}, "P."), s.received(event.Sock{State: "ESTABLISHED"}, resetServer)}
		}, event.SenderKernel, event.ResetStale, "ESTABLISHED"},
		{"the connection is not known any more, but somebody listens", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{Reason: "TCP_FLAGS", State: "LISTEN", Limit: 128}, "."), s.received(event.Sock{State: "ESTABLISHED"}, resetServer)}
		}, event.SenderKernel, event.ResetStale, "ESTABLISHED"},
		{"a full accept queue resets", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{State: "LISTEN", Backlog: 2, Limit: 1}, "."), s.received(event.Sock{State: "ESTABLISHED"}, resetServer)}
		}, event.SenderKernel, event.ResetOverflow, "ESTABLISHED"},
		{"closed with data unread, reported when the packet is out and has arrived", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(serverNetns, event.Out, 64, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "ESTABLISHED"}, resetServer),
				s.sent(event.Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Unread: 9}, ""),
			}
		}, event.SenderApp, event.ResetUnread, "ESTABLISHED"},
		{"killed, reported when the packet is out, by a task that had no CPU for a while", func(s *seq) []event.Event {
			out := s.hop(serverNetns, event.Out, 64, resetServer, resetClient, "R.")
			in := s.received(event.Sock{State: "ESTABLISHED"}, resetServer)
			s.now = s.now.Add(40 * time.Millisecond)
			return []event.Event{out, in, s.sent(event.Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Exiting: true, Signal: 9}, "")}
		}, event.SenderApp, event.ResetKilled, "ESTABLISHED"},
		{"closed with data unread, and a listener answered what came before that was reported", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(serverNetns, event.Out, 64, resetServer, resetClient, "R."),
				s.sent(event.Sock{Reason: "TCP_FLAGS", State: "LISTEN", Limit: 128}, "F."),
				s.received(event.Sock{State: "FIN_WAIT1"}, resetServer),
				s.sent(event.Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Unread: 9}, ""),
			}
		}, event.SenderApp, event.ResetUnread, "FIN_WAIT1"},
		{"closed with data unread, before kernels gave the reason", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{State: "ESTABLISHED", Closing: true, Unread: 9}, "")}
		}, event.SenderApp, event.ResetUnread, "ESTABLISHED"},
		{"linger 0", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{Reason: "TCP_STATE", State: "ESTABLISHED", Closing: true, LingerNo: true}, "")}
		}, event.SenderApp, event.ResetLinger, "ESTABLISHED"},
		{"killed", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{Reason: "TCP_ABORT_ON_CLOSE", State: "ESTABLISHED", Closing: true, Exiting: true, Signal: 9}, "")}
		}, event.SenderApp, event.ResetKilled, "ESTABLISHED"},
		{"data after close, of which the kernel also says that a reset was received", func(s *seq) []event.Event {
			own := s.at(serverNetns, packet.OfFlow("tcp", eventtest.Flow(resetClient, resetServer), "R"), event.Sock{Op: event.SockResetReceived, State: "FIN_WAIT2", Count: 1})
			return []event.Event{own, s.sent(event.Sock{Reason: "TCP_ABORT_ON_DATA", State: "CLOSE"}, "P."), s.received(event.Sock{State: "CLOSE_WAIT"}, resetServer)}
		}, event.SenderApp, event.ResetDataAfterExit, "CLOSE_WAIT"},
		{"destroyed from outside", func(s *seq) []event.Event {
			sent := s.sent(event.Sock{Reason: "TCP_STATE", State: "ESTABLISHED"}, "")
			return []event.Event{sent, s.at(serverNetns, sent.Packet, event.Sock{Op: event.SockError, Error: "ECONNABORTED", Count: 1})}
		}, event.SenderKernel, event.ResetDestroyed, "ESTABLISHED"},
		{"the server answers a SYN for an older connection", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{Reason: "TCP_FLAGS", State: "SYN_SENT"}, ".")}
		}, event.SenderKernel, event.ResetOlder, "SYN_SENT"},
		{"keepalive", func(s *seq) []event.Event {
			return []event.Event{s.sent(event.Sock{Reason: "TCP_KEEPALIVE_TIMEOUT", State: "ESTABLISHED"}, "")}
		}, event.SenderKernel, event.ResetTimeout, "ESTABLISHED"},
	}
}

// resetsThatProveNothing look forged, or made here, and need not be.
func resetsThatProveNothing() []resetCase {
	scan := func(ttl uint8) func(*seq) []event.Event {
		return func(s *seq) []event.Event {
			return []event.Event{
				s.hop(serverNetns, event.In, ttl, resetClient, resetServer, "S"),
				s.hop(serverNetns, event.Out, 64, resetServer, resetClient, "S."),
				s.hop(serverNetns, event.In, 61, resetClient, resetServer, "R"),
			}
		}
	}
	return []resetCase{
		{"a half-open probe, whose SYN is made by hand", scan(254), event.SenderPeer, event.ResetUnknown, ""},
		{"a SYN of a scan, of any TTL", scan(37), event.SenderPeer, event.ResetUnknown, ""},
		{"half-open probes from one port, the first of which was refused", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(clientNetns, event.Out, 64, resetClient, resetServer, "S"),
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "SYN_SENT"}, resetServer),
				s.hop(clientNetns, event.Out, 64, resetClient, resetServer, "S"),
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "S."),
			}
		}, event.SenderPeer, event.ResetRefused, "SYN_SENT"},
		{"a server behind each of two ways, asked from one port", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "S."),
				s.hop(clientNetns, event.Out, 64, resetClient, resetServer, "S"),
				s.hop(clientNetns, event.In, 60, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "SYN_SENT"}, resetServer),
			}
		}, event.SenderPeer, event.ResetRefused, "SYN_SENT"},
		{"one router behind 255, and one behind 64", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(clientNetns, event.In, 63, resetServer, resetClient, "S."),
				s.hop(clientNetns, event.In, 254, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "ESTABLISHED", Sent: 20}, resetServer),
			}
		}, event.SenderPeer, event.ResetUnknown, "ESTABLISHED"},
		{"one that leaves translated, and may have come under another name", func(s *seq) []event.Event {
			out := s.hop(nodeNetns, event.Out, 63, resetVIP, resetClient, "R.")
			out.Body = event.Hop{Conntrack: event.NewConntrack(eventtest.Flow(resetClient, resetVIP), eventtest.Flow(resetServer, resetClient))}
			return []event.Event{out, s.received(event.Sock{State: "SYN_SENT"}, resetVIP)}
		}, event.SenderPeer, event.ResetRefused, "SYN_SENT"},
		{"one that leaves a device of a capture", func(s *seq) []event.Event {
			out := s.hop(nodeNetns, event.Out, 63, resetServer, resetClient, "R.")
			out.Body = event.Hop{Captured: true}
			return []event.Event{out, s.received(event.Sock{State: "SYN_SENT"}, resetServer)}
		}, event.SenderPeer, event.ResetRefused, "SYN_SENT"},
	}
}

// resetsThatPacketsExplain are those of firewalls, middle boxes and silent kernels, and those behind a translation.
func resetsThatPacketsExplain() []resetCase {
	return []resetCase{
		{"rejected, the drop reported last", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(nodeNetns, event.Out, 64, resetServer, resetClient, "R."), s.received(event.Sock{State: "SYN_SENT"}, resetServer), s.reject("S"),
			}
		}, event.SenderFirewall, event.ResetRejected, "SYN_SENT"},
		{"rejected, the drop reported first", func(s *seq) []event.Event {
			return []event.Event{s.reject("P."), s.received(event.Sock{State: "ESTABLISHED"}, resetServer)}
		}, event.SenderFirewall, event.ResetRejected, "ESTABLISHED"},
		{"a drop of the same direction rejects nothing", func(s *seq) []event.Event {
			drop := s.reject("R")
			drop.Packet = packet.OfFlow("tcp", eventtest.Flow(resetServer, resetClient), "R")
			return []event.Event{drop, s.received(event.Sock{State: "ESTABLISHED"}, resetServer)}
		}, event.SenderPeer, event.ResetUnknown, "ESTABLISHED"},
		{"forged with another TTL", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "S."),
				s.hop(clientNetns, event.In, 61, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "ESTABLISHED", Sent: 20}, resetServer),
			}
		}, event.SenderMiddlebox, event.ResetForged, "ESTABLISHED"},
		{"forged before the server accepts", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "SYN_SENT"}, resetServer),
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "S."),
			}
		}, event.SenderMiddlebox, event.ResetForged, "SYN_SENT"},
		{"the peer's own, with the TTL of its other packets", func(s *seq) []event.Event {
			return []event.Event{
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "S."),
				s.hop(clientNetns, event.In, 57, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "ESTABLISHED", Sent: 20}, resetServer),
			}
		}, event.SenderPeer, event.ResetUnknown, "ESTABLISHED"},
		{"nothing listens, on a kernel that does not say so", func(s *seq) []event.Event {
			return []event.Event{
				s.silent(),
				s.hop(serverNetns, event.Out, 64, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "SYN_SENT"}, resetServer),
			}
		}, event.SenderKernel, event.ResetRefused, "SYN_SENT"},
		{"the connection is not known any more, on a kernel that does not say so", func(s *seq) []event.Event {
			return []event.Event{
				s.silent(),
				s.hop(serverNetns, event.Out, 64, resetServer, resetClient, "R."),
				s.received(event.Sock{State: "ESTABLISHED"}, resetServer),
			}
		}, event.SenderKernel, event.ResetStale, "ESTABLISHED"},
		{"behind translation", func(s *seq) []event.Event {
			translated := s.hop(nodeNetns, event.Out, 63, resetClient, resetServer, "S")
			ct := &event.Conntrack{Original: eventtest.Flow(resetClient, resetVIP), Reply: eventtest.Flow(resetServer, resetClient)}
			translated.Body = event.Hop{Conntrack: ct}
			return []event.Event{translated, s.sent(event.Sock{Reason: "NO_SOCKET"}, "S"), s.received(event.Sock{State: "SYN_SENT"}, resetVIP)}
		}, event.SenderKernel, event.ResetRefused, "SYN_SENT"},
		{"behind translation that shows late", func(s *seq) []event.Event {
			sent := s.sent(event.Sock{Reason: "NO_SOCKET"}, "P.")
			reset := s.hop(nodeNetns, event.In, 64, resetServer, resetClient, "R")
			ct := &event.Conntrack{Original: eventtest.Flow(resetClient, resetVIP), Reply: eventtest.Flow(resetServer, resetClient)}
			reset.Body = event.Hop{Conntrack: ct}
			return []event.Event{sent, reset, s.received(event.Sock{State: "ESTABLISHED"}, resetVIP)}
		}, event.SenderKernel, event.ResetStale, "ESTABLISHED"},
	}
}

func TestResetsAreBlamedOnTheirSenders(t *testing.T) {
	for _, c := range slices.Concat(resetsThatSocketsExplain(), resetsThatPacketsExplain(), resetsThatProveNothing()) {
		t.Run(c.name, func(t *testing.T) {
			got := replayResets(c.events(&seq{now: time.Unix(1000, 0)}))
			if len(got) != 1 {
				t.Fatalf("%d resets, want one: %v", len(got), got)
			}
			r := got[0].Body.(event.Reset)
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
func replayResets(events []event.Event) []event.Event {
	stage, pass := NewResets(), 0
	var out []event.Event
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
	events := []event.Event{s.sent(event.Sock{Reason: "TCP_STATE", State: "ESTABLISHED", Closing: true, LingerNo: true}, "")}
	s.now = s.now.Add(time.Second)
	events = append(events, s.sent(event.Sock{Reason: "NO_SOCKET"}, "P.")) // data that was on its way
	s.now = s.now.Add(time.Second)
	events = append(events, s.sent(event.Sock{Reason: "NO_SOCKET"}, "S")) // the same ports, but a new connection
	var causes []event.ResetCause
	for _, e := range replayResets(events) {
		causes = append(causes, e.Body.(event.Reset).Cause)
	}
	if len(causes) != 2 || causes[0] != event.ResetLinger || causes[1] != event.ResetRefused {
		t.Errorf("got %v, want %v", causes, []event.ResetCause{event.ResetLinger, event.ResetRefused})
	}
}

func TestResetsForgetConnections(t *testing.T) {
	s := &seq{now: time.Unix(1000, 0)}
	r := NewResets()
	for i := range uint16(5000) {
		client := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), 1000+i).String()
		e := s.hop(nodeNetns, event.In, 64, resetServer, client, "S.")
		e.Body = event.Hop{Conntrack: &event.Conntrack{Original: eventtest.Flow(client, resetVIP), Reply: eventtest.Flow(resetServer, client)}}
		r.Observe(e)
		r.Observe(s.hop(nodeNetns, event.In, 64, resetServer, client, "R"))
	}
	r.Flush(s.now, true)
	r.Flush(s.now.Add(memoryHold+time.Second), false)
	if n := r.open.Len() + r.echoes.Len() + r.names.Len() + r.ttls.Len(); n != 0 {
		t.Errorf("%d things are still remembered", n)
	}
}

// TestResetsAreBoundedInAFlood resets more connections of one namespace at one time than there is room for. None is lost, and
// what is held of another namespace waits for all that belongs to it.
func TestResetsAreBoundedInAFlood(t *testing.T) {
	s := &seq{now: time.Unix(1000, 0)}
	r := NewResets()
	hops := map[packet.Connection]int{}
	conclude := func(events []event.Event) {
		for _, e := range events {
			if b, ok := e.Body.(event.Reset); ok {
				hops[packet.ConnectionOf(b.Connection)]++
			}
		}
	}
	flow := func(i int) (client, server string) {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 4000).String(), resetServer
	}
	const otherNetns, flood = nodeNetns + 1, 5 * maxHeld
	other, server := flow(60000)
	conclude(r.Observe(s.hop(otherNetns, event.In, 64, server, other, "R")))
	for i := range flood {
		client, server := flow(i)
		conclude(r.Observe(s.hop(nodeNetns, event.In, 64, server, client, "R")))
		if r.open.Size() > maxHeld {
			t.Fatalf("%d reports are held, want at most %d", r.open.Size(), maxHeld)
		}
	}
	c := packet.ConnectionOf(eventtest.Flow(server, other))
	if g, ok := r.open.Get(c); !ok || hops[c] != 0 || g.size() != 1 {
		t.Errorf("the other's reset is held: %t", ok)
	}
	var sum event.Summary
	if r.Summarize(&sum); sum.Evicted["resets concluded early"] < flood-maxHeld {
		t.Errorf("evicted %v, want at least %d", sum.Evicted, flood-maxHeld)
	}
	conclude(r.Flush(s.now.Add(time.Minute), true))
	if len(hops) != flood+1 {
		t.Errorf("%d resets were concluded, want %d", len(hops), flood+1)
	}
}
