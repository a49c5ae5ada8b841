package decoder

import (
	"net/netip"
	"testing"
	"time"
)

// TestResetsNameTheirEndsByRole: whichever of the ends is a pod, and in whichever order the event that was first has them.
func TestResetsNameTheirEndsByRole(t *testing.T) {
	web, db := Pod{Name: "web", UID: "w"}, Pod{Name: "db", UID: "d"}
	for _, c := range []struct {
		name           string
		client, server Pod
	}{
		{"both are pods", web, db},
		{"the client is a pod", web, Pod{}},
		{"the server is a pod", Pod{}, db},
		{"neither is", Pod{}, Pod{}},
	} {
		for way, named := range map[string]func(*Event){
			"sender first":   func(e *Event) { e.Pod, e.Peer, e.ToPod = c.server, c.client, false },
			"receiver first": func(e *Event) { e.Pod, e.Peer, e.ToPod = c.client, c.server, true },
		} {
			for what, report := range map[string]func(*seq) Event{
				"sent":     func(s *seq) Event { return s.sent(Sock{Reason: "NO_SOCKET"}, "S") },
				"received": func(s *seq) Event { return s.received(Sock{State: "SYN_SENT"}, resetServer) },
				"seen":     func(s *seq) Event { return s.hop(nodeNetns, In, 63, resetServer, resetClient, "R.") },
			} {
				e := report(&seq{now: time.Unix(1000, 0)})
				named(&e)
				got := replayResets([]Event{e})
				if len(got) != 1 || got[0].Pod != c.client || got[0].Peer != c.server || !got[0].ToPod {
					t.Errorf("%s, %s, %s: got %+v, want %+v reset by %+v", c.name, what, way, got, c.client, c.server)
				}
			}
		}
	}
}

// translatedSYN is the SYN of a connection to the service, where it leaves the node for the backend.
func translatedSYN(s *seq) Event {
	e := s.hop(nodeNetns, Out, 63, resetClient, resetServer, "S")
	e.Body = Hop{Conntrack: NewConntrack(flowOf(resetClient, resetVIP), flowOf(resetServer, resetClient))}
	return e
}

func TestResetsNameTheBackend(t *testing.T) {
	s := &seq{now: time.Unix(1000, 0)}
	got := replayResets([]Event{
		s.hop(clientNetns, Out, 64, resetClient, resetVIP, "S"), translatedSYN(s),
		s.hop(nodeNetns, In, 60, resetServer, resetClient, "R."),
		s.received(Sock{State: "SYN_SENT"}, resetVIP),
	})
	if len(got) != 1 {
		t.Fatalf("got %v", got)
	}
	b := got[0].Body.(Reset)
	if vip, backend := netip.MustParseAddrPort(resetVIP), netip.MustParseAddrPort(resetServer); b.Server != vip || b.Backend != backend || b.Sender != SenderPeer {
		t.Errorf("%s at %v, served by %v; want %s at %v, served by %v", b.Sender, b.Server, b.Backend, SenderPeer, vip, backend)
	}
}

func TestResetsNameAnAnswerThatWasNotTranslated(t *testing.T) {
	answered := func(s *seq, flags string) Event { // the client resets what the backend sent it
		e := s.sent(Sock{Reason: "NO_SOCKET"}, flags)
		f := flowOf(resetClient, resetServer)
		e.Netns, e.Packet = clientNetns, bare("tcp", f, "R")
		k := e.Body.(Sock)
		k.Trigger = bare("tcp", f.Reverse(), flags)
		e.Body = k
		return e
	}
	for _, c := range []struct {
		name   string
		events func(*seq) []Event
		cause  ResetCause
	}{
		{"of a service", func(s *seq) []Event { return []Event{translatedSYN(s), answered(s, "P.")} }, ResetUntranslated},
		{"of a service, reported late", func(s *seq) []Event {
			e := answered(s, "P.")
			syn := translatedSYN(s)
			return []Event{e, syn}
		}, ResetUntranslated},
		{"of the backend itself, by the port of an earlier connection to the service", func(s *seq) []Event {
			before := translatedSYN(s)
			direct := s.hop(clientNetns, Out, 64, resetClient, resetServer, "S")
			direct.Body = Hop{SocketNetns: clientNetns}
			return []Event{before, direct, answered(s, "P.")}
		}, ResetStale},
		{"of nothing that is known", func(s *seq) []Event { return []Event{answered(s, "P.")} }, ResetStale},
		{"the backend refuses", func(s *seq) []Event { return []Event{translatedSYN(s), s.sent(Sock{Reason: "NO_SOCKET"}, "S")} }, ResetRefused},
		{"the backend knows the client no more", func(s *seq) []Event { return []Event{translatedSYN(s), s.sent(Sock{Reason: "NO_SOCKET"}, "P.")} }, ResetStale},
		{"on a kernel that does not say so", func(s *seq) []Event {
			return []Event{s.silent(), translatedSYN(s), s.hop(clientNetns, Out, 64, resetClient, resetServer, "R")}
		}, ResetUntranslated},
		{"the client resets on such a kernel, and the node translates it", func(s *seq) []Event {
			before := []Event{s.silent(), translatedSYN(s), s.hop(clientNetns, Out, 64, resetClient, resetVIP, "R")}
			e := s.hop(nodeNetns, Out, 63, resetClient, resetServer, "R")
			e.Body = before[1].Body
			return append(before, e)
		}, ResetStale},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := replayResets(c.events(&seq{now: time.Unix(1000, 0)}))
			if len(got) != 1 || got[0].Body.(Reset).Cause != c.cause {
				t.Errorf("got %v, want %s", got, c.cause)
			}
		})
	}
}
