// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// TestResetsNameTheirEndsByRole: whichever of the ends is a pod, and in whichever order the event that was first has them.
func TestResetsNameTheirEndsByRole(t *testing.T) {
	web, db := event.Pod{Name: "web", UID: "w"}, event.Pod{Name: "db", UID: "d"}
	for _, c := range []struct {
		name           string
		client, server event.Pod
	}{
		{"both are pods", web, db},
		{"the client is a pod", web, event.Pod{}},
		{"the server is a pod", event.Pod{}, db},
		{"neither is", event.Pod{}, event.Pod{}},
	} {
		for way, named := range map[string]func(*event.Event){
			"sender first":   func(e *event.Event) { e.Pod, e.Peer, e.ToPod = c.server, c.client, false },
			"receiver first": func(e *event.Event) { e.Pod, e.Peer, e.ToPod = c.client, c.server, true },
		} {
			for what, report := range map[string]func(*seq) event.Event{
				"sent":     func(s *seq) event.Event { return s.sent(event.Sock{Reason: "NO_SOCKET"}, "S") },
				"received": func(s *seq) event.Event { return s.received(event.Sock{State: "SYN_SENT"}, resetServer) },
				"seen":     func(s *seq) event.Event { return s.hop(nodeNetns, event.In, 63, resetServer, resetClient, "R.") },
			} {
				e := report(&seq{now: time.Unix(1000, 0)})
				named(&e)
				got := replayResets([]event.Event{e})
				if len(got) != 1 || got[0].Pod != c.client || got[0].Peer != c.server || !got[0].ToPod {
					t.Errorf("%s, %s, %s: got %+v, want %+v reset by %+v", c.name, what, way, got, c.client, c.server)
				}
			}
		}
	}
}

// translatedSYN is the SYN of a connection to the service, where it leaves the node for the backend.
func translatedSYN(s *seq) event.Event {
	e := s.hop(nodeNetns, event.Out, 63, resetClient, resetServer, "S")
	e.Body = event.Hop{Conntrack: event.NewConntrack(eventtest.Flow(resetClient, resetVIP), eventtest.Flow(resetServer, resetClient))}
	return e
}

func TestResetsNameTheBackend(t *testing.T) {
	s := &seq{now: time.Unix(1000, 0)}
	got := replayResets([]event.Event{
		s.hop(clientNetns, event.Out, 64, resetClient, resetVIP, "S"), translatedSYN(s),
		s.hop(nodeNetns, event.In, 60, resetServer, resetClient, "R."),
		s.received(event.Sock{State: "SYN_SENT"}, resetVIP),
	})
	if len(got) != 1 {
		t.Fatalf("got %v", got)
	}
	b := got[0].Body.(event.Reset)
	if vip, backend := netip.MustParseAddrPort(resetVIP), netip.MustParseAddrPort(resetServer); b.Server != vip || b.Backend != backend || b.Sender != event.SenderPeer {
		t.Errorf("%s at %v, served by %v; want %s at %v, served by %v", b.Sender, b.Server, b.Backend, event.SenderPeer, vip, backend)
	}
}

func TestResetsNameAnAnswerThatWasNotTranslated(t *testing.T) {
	answered := func(s *seq, flags string) event.Event { // the client resets what the backend sent it
		e := s.sent(event.Sock{Reason: "NO_SOCKET"}, flags)
		f := eventtest.Flow(resetClient, resetServer)
		e.Netns, e.Packet = clientNetns, packet.OfFlow("tcp", f, "R")
		k := e.Body.(event.Sock)
		k.Trigger = packet.OfFlow("tcp", f.Reverse(), flags)
		e.Body = k
		return e
	}
	for _, c := range []struct {
		name   string
		events func(*seq) []event.Event
		cause  event.ResetCause
	}{
		{"of a service", func(s *seq) []event.Event { return []event.Event{translatedSYN(s), answered(s, "P.")} }, event.ResetUntranslated},
		{"of a service, reported late", func(s *seq) []event.Event {
			e := answered(s, "P.")
			syn := translatedSYN(s)
			return []event.Event{e, syn}
		}, event.ResetUntranslated},
		{"of the backend itself, by the port of an earlier connection to the service", func(s *seq) []event.Event {
			before := translatedSYN(s)
			direct := s.hop(clientNetns, event.Out, 64, resetClient, resetServer, "S")
			direct.Body = event.Hop{SocketNetns: clientNetns}
			return []event.Event{before, direct, answered(s, "P.")}
		}, event.ResetStale},
		{"of nothing that is known", func(s *seq) []event.Event { return []event.Event{answered(s, "P.")} }, event.ResetStale},
		{"the backend refuses", func(s *seq) []event.Event {
			return []event.Event{translatedSYN(s), s.sent(event.Sock{Reason: "NO_SOCKET"}, "S")}
		}, event.ResetRefused},
		{"the backend knows the client no more", func(s *seq) []event.Event {
			return []event.Event{translatedSYN(s), s.sent(event.Sock{Reason: "NO_SOCKET"}, "P.")}
		}, event.ResetStale},
		{"on a kernel that does not say so", func(s *seq) []event.Event {
			return []event.Event{s.silent(), translatedSYN(s), s.hop(clientNetns, event.Out, 64, resetClient, resetServer, "R")}
		}, event.ResetUntranslated},
		{"the client resets on such a kernel, and the node translates it", func(s *seq) []event.Event {
			before := []event.Event{s.silent(), translatedSYN(s), s.hop(clientNetns, event.Out, 64, resetClient, resetVIP, "R")}
			e := s.hop(nodeNetns, event.Out, 63, resetClient, resetServer, "R")
			e.Body = before[1].Body
			return append(before, e)
		}, event.ResetStale},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := replayResets(c.events(&seq{now: time.Unix(1000, 0)}))
			if len(got) != 1 || got[0].Body.(event.Reset).Cause != c.cause {
				t.Errorf("got %v, want %s", got, c.cause)
			}
		})
	}
}
