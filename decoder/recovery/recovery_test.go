// SPDX-License-Identifier: Apache-2.0

package recovery

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// course plays what a client asks of a server, half a second after one another: F fails, S works, s works with another
// backend, B works though it is big, O works for another client, . nothing.
type course struct {
	works  Successes
	folder event.Folder
	now    time.Time
	proto  string
	length uint32 // of what fails
	id     string
	rule   string
	sure   event.Confidence
	middle bool // what fails is in the midst of a connection
	stale  bool // conntrack sends it to a backend that is gone
}

const (
	courseClient  = "10.244.0.2:40000"
	courseOther   = "10.244.0.3:40000"
	courseServer  = "10.96.0.10:53"
	courseBackend = "10.9.0.3:53"
	courseAnother = "10.9.0.4:53"
)

func (c *course) packet(from, to, flags string, length uint32) *packet.Packet {
	if c.proto == "udp" {
		flags = ""
	}
	p := eventtest.Packet(c.proto, from, to, flags)
	p.Len = length
	return p
}

func (c *course) play(t *testing.T, what string) {
	t.Helper()
	c.now = time.Unix(1000, 0)
	for _, step := range what {
		c.now = c.now.Add(500 * time.Millisecond)
		switch step {
		case 'F':
			c.fail()
		case 'S':
			c.work(courseClient, courseBackend, 60)
		case 's':
			c.work(courseClient, courseAnother, 60)
		case 'B':
			c.work(courseClient, courseBackend, 1000)
		case 'O':
			c.work(courseOther, courseBackend, 60)
		}
	}
}

func (c *course) fail() {
	flags := "S"
	if c.middle {
		flags = "P."
	}
	e := event.Event{Header: event.Header{Time: c.now, Netns: 1}, Packet: c.packet(courseClient, courseServer, flags, c.length),
		Body: event.Drop{Conntrack: event.NewConntrack(eventtest.Flow(courseClient, courseServer), eventtest.Flow(courseBackend, courseClient))}}
	if c.stale {
		e.Body = event.NAT{State: event.NATStale, Original: eventtest.Flow(courseClient, courseServer), Reply: eventtest.Flow(courseBackend, courseClient)}
	}
	f := event.Finding{ID: c.id, Severity: event.Critical, Confidence: c.sure, First: c.now, Last: c.now, About: event.About{Rule: event.FilterRule{Chain: c.rule}}}
	c.folder.Add(f.Of(e))
}

// work has a request go from the client's device over the node's, translated, and the answer come back.
func (c *course) work(client, backend string, length uint32) {
	translated := event.NewConntrack(eventtest.Flow(client, courseServer), eventtest.Flow(backend, client))
	hop := func(netns uint32, way event.Direction, p *packet.Packet, ct *event.Conntrack) {
		c.works.Observe(event.Event{Header: event.Header{Time: c.now, Netns: netns, Ifindex: 2, Direction: way}, Packet: p, Body: event.Hop{Conntrack: ct}})
	}
	hop(1, event.Out, c.packet(client, courseServer, "S", length), nil)
	hop(2, event.In, c.packet(client, courseServer, "S", length), nil)
	hop(2, event.Out, c.packet(client, backend, "S", length), translated)
	hop(2, event.In, c.packet(backend, client, "S.", length), translated)
	hop(2, event.Out, c.packet(courseServer, client, "S.", length), translated)
	hop(1, event.In, c.packet(courseServer, client, "S.", length), nil)
}

func TestWhatIsOver(t *testing.T) {
	for _, c := range []struct {
		name   string
		course course
		what   string
		over   bool
	}{
		{"never again", course{}, "FFF.......", false},
		{"still failing", course{}, "SSSSFFF", false},
		{"not asked for long enough", course{}, "FFFSS.....", false},
		{"works again", course{}, "FFF..SSS", true},
		{"worked before", course{}, "SSSSSSSSFFF.SSS.", true},
		{"too soon", course{}, "FFFS", false},
		{"one in three", course{}, strings.Repeat("FSS", 10) + "SSS", false},
		{"one in three until long ago", course{}, strings.Repeat("FSS", 10) + strings.Repeat("S", 20), true},
		{"one in two", course{}, "FSFSFSFSSSS", false},
		{"once, while it works all the time", course{}, strings.Repeat("S", 15) + "F" + strings.Repeat("S", 18), true},
		{"twice in a pause of what works all the time", course{}, strings.Repeat("S", 15) + "F.F" + strings.Repeat("S", 18), true},
		{"again and again for a while", course{}, "FFF" + strings.Repeat("S", 10) + "FFF" + strings.Repeat("S", 20), false},
		{"it fails again", course{}, "FFFSSSSSF", false},
		{"with another backend", course{}, "FFFssss", false},
		{"with another backend for long", course{}, "FFF" + strings.Repeat("s", 10), true},
		{"for another client", course{}, "FFF" + strings.Repeat("O", 20), false},
		{"for another client of a server that refused", course{id: "connection-refused"}, "FFFOOO", true},
		{"a server that refused, and listens", course{id: "connection-refused", sure: event.Certain}, "FFF.S..", true},
		{"a firewall that may have refused", course{id: "connection-refused", sure: event.Likely}, "FFF.S..", false},
		{"a server that refused, and another that listens", course{id: "connection-refused", sure: event.Certain}, "FFF.s..", false},
		{"a server that comes and goes", course{id: "connection-refused", sure: event.Certain}, "FFF.S.FFF.S..", false},
		{"a rule that may be for some packets", course{rule: "r"}, "FFFSSSS", false},
		{"a rule, for long", course{rule: "r"}, "FFF" + strings.Repeat("S", 10), true},
		{"in the midst of connections", course{middle: true}, "FFF" + strings.Repeat("S", 20), false},
		{"a flow to a backend that is gone, while others are served", course{stale: true}, "F" + strings.Repeat("s", 20), false},
		{"big ones fail, small ones pass", course{proto: "udp", length: 1000}, "FFF" + strings.Repeat("S", 20), false},
		{"big ones pass again", course{proto: "udp", length: 1000}, "FFFBBB", true},
		{"datagrams", course{proto: "udp"}, "FFFSSS", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &c.course
			if x.proto == "" {
				x.proto = "tcp"
			}
			if x.id == "" {
				x.id = "netfilter-drop"
			}
			x.play(t, c.what)
			over := x.works.Settle(&x.folder, x.now, true)
			if got := len(over) == 1; got != c.over {
				t.Fatalf("over: %v, want %v", got, c.over)
			}
			if f := x.folder.All()[0]; (f.Severity == event.Info) != c.over || f.Over.IsZero() == c.over {
				t.Errorf("%s, over since %v", f.Severity, f.Over)
			}
		})
	}
}

// TestAnAnswerThatIsLostIsNoSuccess: it came back to the node, and not to the client.
func TestAnAnswerThatIsLostIsNoSuccess(t *testing.T) {
	c := course{proto: "tcp", id: "netfilter-drop"}
	c.play(t, "FFF")
	for range 20 {
		c.now = c.now.Add(time.Second)
		hop := func(netns uint32, way event.Direction, p *packet.Packet) {
			c.works.Observe(event.Event{Header: event.Header{Time: c.now, Netns: netns, Ifindex: 2, Direction: way}, Packet: p, Body: event.Hop{}})
		}
		hop(1, event.Out, c.packet(courseClient, courseServer, "S", 60))
		hop(2, event.In, c.packet(courseClient, courseServer, "S", 60))
		hop(2, event.Out, c.packet(courseServer, courseClient, "S.", 60))
	}
	if over := c.works.Settle(&c.folder, c.now, true); len(over) > 0 {
		t.Errorf("over: %+v", over)
	}
}

// TestQueriesAreOverByAnswers: an answer that says SERVFAIL is none, and a late answer no failure.
func TestQueriesAreOverByAnswers(t *testing.T) {
	for _, c := range []struct {
		name         string
		rcode        string
		good         int
		id           string
		wasAnswered  bool
		wantOverSome bool
		of           string // what is asked then, "" the same
	}{
		{"answers", "NOERROR", 3, "dns-no-response", false, true, ""},
		{"names that do not exist", "NXDOMAIN", 3, "dns-no-response", false, true, ""},
		{"excuses", "SERVFAIL", 30, "dns-servfail", false, false, ""},
		{"too few", "NOERROR", 2, "dns-no-response", false, false, ""},
		{"slow answers", "NOERROR", 30, "dns-slow", true, false, ""},
		{"others, of which the answers may be shorter", "NOERROR", 30, "dns-no-response", false, false, "other"},
		{"others, of a server that was away", "NOERROR", 10, "dns-server-refused", false, true, "other"},
		{"others, of a server that was away, too few", "NOERROR", 5, "dns-server-refused", false, false, "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var works Successes
			var folder event.Folder
			now := time.Unix(1000, 0)
			query := event.DNS{Transport: "udp", Server: netip.MustParseAddrPort(courseServer), Outcome: event.DNSNoResponse}
			ask := func(d event.DNS) event.Event {
				now = now.Add(time.Second)
				return event.Event{Header: event.Header{Time: now}, Packet: eventtest.Packet("udp", courseClient, courseServer, ""), Body: d}
			}
			answer := query
			answer.Outcome, answer.Rcode = event.DNSAnswered, c.rcode
			failed := ask(query)
			if c.wasAnswered {
				failed = ask(answer)
			}
			answer.Name = c.of
			folder.Add(event.Finding{ID: c.id, Severity: event.Critical, First: failed.Time, Last: failed.Time}.Of(failed))
			for range c.good {
				works.Observe(ask(answer))
			}
			if over := len(works.Settle(&folder, now, true)) > 0; over != c.wantOverSome {
				t.Errorf("over: %v, want %v", over, c.wantOverSome)
			}
		})
	}
}

// TestOverIsNotForGood: the same cause that hits again is reported again.
func TestOverIsNotForGood(t *testing.T) {
	c := course{proto: "tcp", id: "netfilter-drop"}
	c.play(t, "FFFSSS")
	c.works.Settle(&c.folder, c.now, true)
	if f := c.folder.All()[0]; f.Severity != event.Info {
		t.Fatalf("it is %s", f.Severity)
	}
	c.now = c.now.Add(time.Second)
	c.fail()
	if f := c.folder.All()[0]; f.Severity != event.Critical || !f.Over.IsZero() || f.Count != 4 {
		t.Errorf("it is %s, over since %v, %d times", f.Severity, f.Over, f.Count)
	}
}

// TestWhatIsNotKnownYetIsNotOver: a query may have failed a moment ago.
func TestWhatIsNotKnownYetIsNotOver(t *testing.T) {
	c := course{proto: "tcp", id: "netfilter-drop"}
	c.play(t, "FFFSSS")
	if over := c.works.Settle(&c.folder, c.now, false); len(over) > 0 {
		t.Error("it is over at once")
	}
	if over := c.works.Settle(&c.folder, c.now.Add(overKnown), false); len(over) != 1 {
		t.Error("it is never over")
	}
}

func TestATimelineForgetsWhenButNotHowOften(t *testing.T) {
	var l bounded.Timeline
	start := time.Unix(1000, 0)
	for i := range 1000 {
		at := start.Add(time.Duration(i) * time.Second)
		l.Add(bounded.NewSpan(at, at, 1), maxSpans)
	}
	if len(l) > maxSpans {
		t.Errorf("%d spans, want at most %d", len(l), maxSpans)
	}
	if n, _ := l.After(start.Add(-time.Second)); n != 1000 {
		t.Errorf("%d in all, want 1000", n)
	}
	if n, first := l.After(start.Add(989500 * time.Millisecond)); n != 10 || !first.Equal(start.Add(990*time.Second)) {
		t.Errorf("%d of the last ten seconds, the first at %v", n, first)
	}
}

// TestLoopbackIsOfItsNamespace: that a server listens on 127.0.0.1 of one pod says nothing of another's.
func TestLoopbackIsOfItsNamespace(t *testing.T) {
	for netns, want := range map[uint32]bool{7: true, 8: false} {
		var works Successes
		var folder event.Folder
		now := time.Unix(1000, 0)
		f := event.Finding{ID: "connection-refused", Severity: event.Warning, First: now, Last: now}
		refused := event.Reset{Cause: event.ResetRefused, Connection: eventtest.Flow("127.0.0.1:8080", "127.0.0.1:40000")}
		folder.Add(f.Of(event.Event{Header: event.Header{Time: now, Netns: 7}, Packet: eventtest.Packet("tcp", "127.0.0.1:8080", "127.0.0.1:40000", "R."), Body: refused}))
		for range 20 {
			now = now.Add(time.Second)
			at := event.Header{Time: now, Netns: netns, Ifindex: 1, Direction: event.Out}
			works.Observe(event.Event{Header: at, Packet: eventtest.Packet("tcp", "127.0.0.1:40000", "127.0.0.1:8080", "S"), Body: event.Hop{}})
			at.Direction = event.In
			works.Observe(event.Event{Header: at, Packet: eventtest.Packet("tcp", "127.0.0.1:8080", "127.0.0.1:40000", "S."), Body: event.Hop{}})
		}
		if over := len(works.Settle(&folder, now, true)) > 0; over != want {
			t.Errorf("netns %d: over is %v, want %v", netns, over, want)
		}
	}
}
