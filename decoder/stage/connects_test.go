// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"fmt"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// dialled plays an attempt of a client to connect: from its namespace by the node's uplink, and what comes back.
type dialled struct {
	stage  *Connects
	start  time.Time
	at     time.Duration
	pid    uint32 // of the client's process
	events []event.Event
}

func newDialled() *dialled { return &dialled{stage: NewConnects(), start: time.Unix(1000, 0)} }

func (d *dialled) observe(netns uint32, way event.Direction, journey uint64, src, dst, flags string, body event.Body) {
	p := packet.OfFlow("tcp", eventtest.Flow(src, dst), flags)
	e := event.Event{Header: event.Header{Time: d.start.Add(d.at), Netns: netns, Ifindex: 2, Iface: "dev", Direction: way, Journey: journey, PID: d.pid}, Packet: p, Body: body}
	for _, e := range d.stage.Observe(e) {
		if _, ok := e.Body.(event.Flow); ok {
			d.events = append(d.events, e)
		}
	}
}

// passes plays the time that passes.
func (d *dialled) passes(t time.Duration) *dialled {
	for end := d.at + t; d.at < end; {
		d.at += 500 * time.Millisecond
		d.events = append(d.events, d.stage.Flush(d.start.Add(d.at), false)...)
	}
	return d
}

// syn leaves by the uplink, translated to server if that is another than asked.
func (d *dialled) syn(client, asked, server string) *dialled {
	journey := uint64(d.at) + 1
	d.observe(clientNetns, event.Out, journey, client, asked, "S", event.Hop{})
	h := event.Hop{Conntrack: event.NewConntrack(eventtest.Flow(client, asked), eventtest.Flow(server, client))}
	d.observe(nodeNetns, event.Out, journey, client, server, "S", h)
	return d
}

// answer comes back to the uplink, and if it reaches the client, there.
func (d *dialled) answer(client, asked, server, flags string, reaches bool) *dialled {
	journey := uint64(d.at) + 2
	h := event.Hop{Conntrack: event.NewConntrack(eventtest.Flow(client, asked), eventtest.Flow(server, client))}
	d.observe(nodeNetns, event.In, journey, server, client, flags, h)
	if reaches {
		d.observe(clientNetns, event.In, journey, asked, client, flags, event.Hop{})
	}
	return d
}

// says is what the client's socket reports.
func (d *dialled) says(client, asked string, state event.FlowState, errno string, syns uint32) *dialled {
	d.observe(clientNetns, "", 0, client, asked, "S", event.Flow{State: state, Error: errno, SYNs: syns, Server: eventtest.Flow(client, asked).Dst})
	return d
}

func (d *dialled) drop(flags, reason string) *dialled {
	d.observe(nodeNetns, "", uint64(d.at)+1, dialClient, dialServer, flags, event.Drop{Reason: reason, Location: "here"})
	return d
}

const (
	dialClient, dialServer, dialVIP, dialOther = "10.244.1.2:40000", "10.9.0.2:8080", "10.96.0.7:80", "10.9.0.3:8080"
)

// twice is a SYN that is sent again a second later.
func (d *dialled) twice() *dialled {
	return d.syn(dialClient, dialServer, dialServer).passes(time.Second).syn(dialClient, dialServer, dialServer)
}

// connectCase is what is played, and of each event that is wanted: state, error, SYNs, whether an answer was seen, and how many
// connections were answered and how many not.
type connectCase struct {
	name string
	play func(*dialled)
	want string
}

func TestConnectsWithoutAnAnswer(t *testing.T) {
	const second = time.Second
	for _, c := range []connectCase{
		{"no answer, and the kernel gives up", func(d *dialled) {
			d.twice().passes(2*second).says(dialClient, dialServer, event.FlowFailed, "ETIMEDOUT", 2).passes(5 * second)
		}, "failed ETIMEDOUT 2 false 0/1"},
		{"no answer, and the client waits", func(d *dialled) { d.twice().passes(20 * second) }, "connecting  2 false 0/1"},
		{"and says so later", func(d *dialled) {
			d.twice().passes(20*second).says(dialClient, dialServer, event.FlowFailed, "ETIMEDOUT", 7).passes(2 * second)
		}, "connecting  2 false 0/1"},
		{"the answer is lost on the node", func(d *dialled) {
			d.twice().answer(dialClient, dialServer, dialServer, "S.", false).passes(20 * second)
		}, "connecting  2 true 0/1"},
		{"the server is on another node of the same kernel", func(d *dialled) {
			d.syn(dialClient, dialServer, dialServer).observe(serverNetns, event.In, 77, dialClient, dialServer, "S", event.Hop{})
			d.observe(serverNetns, event.Out, 78, dialServer, dialClient, "S.", event.Hop{})
			d.passes(time.Second).syn(dialClient, dialServer, dialServer).observe(serverNetns, event.In, 79, dialClient, dialServer, "S", event.Hop{})
			d.observe(serverNetns, event.Out, 80, dialServer, dialClient, "S.", event.Hop{})
			d.passes(20 * second)
		}, "connecting  2 true 0/1"},
		{"one of two backends", func(d *dialled) {
			d.syn("10.244.1.2:40001", dialVIP, dialOther).answer("10.244.1.2:40001", dialVIP, dialOther, "S.", true)
			d.syn(dialClient, dialVIP, dialServer).passes(second).syn(dialClient, dialVIP, dialServer).passes(10 * second)
		}, "connecting  2 false 1/1"},
		{"the same port again", func(d *dialled) {
			d.twice().passes(2*second).says(dialClient, dialServer, event.FlowFailed, "ETIMEDOUT", 2).passes(second)
			d.twice().passes(2*second).says(dialClient, dialServer, event.FlowFailed, "ETIMEDOUT", 2).passes(second)
		}, "failed ETIMEDOUT 2 false 0/1, failed ETIMEDOUT 2 false 0/2"},
		{"known by its socket alone", func(d *dialled) {
			d.says(dialClient, dialServer, event.FlowConnecting, "", 2).passes(second).says(dialClient, dialServer, event.FlowFailed, "ETIMEDOUT", 2).passes(second)
		}, "failed ETIMEDOUT 2 false 0/1"},
		{"no port is free", func(d *dialled) { d.says("10.244.1.2:0", dialServer, event.FlowFailed, "", 1) }, "failed  1 false 0/0"},
	} {
		t.Run(c.name, c.run)
	}
}

// TestConnectsThatAreAnswered, or that are over before they could be, make no event.
func TestConnectsThatAreAnswered(t *testing.T) {
	const second = time.Second
	for _, c := range []connectCase{
		{"answered at once", func(d *dialled) {
			d.syn(dialClient, dialServer, dialServer).answer(dialClient, dialServer, dialServer, "S.", true).passes(20 * second)
		}, ""},
		{"answered late", func(d *dialled) {
			d.twice().answer(dialClient, dialServer, dialServer, "S.", true).says(dialClient, dialServer, event.FlowEstablished, "", 2).passes(20 * second)
		}, ""},
		{"refused", func(d *dialled) {
			d.syn(dialClient, dialServer, dialServer).answer(dialClient, dialServer, dialServer, "R.", true).
				says(dialClient, dialServer, event.FlowFailed, "ECONNREFUSED", 1).passes(20 * second)
		}, ""},
		{"answered, as its socket says", func(d *dialled) {
			d.twice().says(dialClient, dialServer, event.FlowEstablished, "", 2).passes(20 * second)
		}, ""},
		{"a client that wants to know whether the port is open", func(d *dialled) {
			d.syn(dialClient, dialServer, dialServer).says(dialClient, dialServer, event.FlowFailed, "", 1).passes(20 * second)
		}, ""},
		{"a SYN that is not sent again", func(d *dialled) { d.syn(dialClient, dialServer, dialServer).passes(60 * second) }, ""},
		{"its namespace is gone", func(d *dialled) {
			d.twice().observe(clientNetns, "", 0, dialClient, dialServer, "", event.Fact{Identity: &event.NetnsIdentity{Inode: clientNetns, Replaced: true}})
			d.passes(20 * second)
		}, ""},
	} {
		t.Run(c.name, c.run)
	}
}

func (c connectCase) run(t *testing.T) {
	d := newDialled()
	c.play(d)
	got := ""
	for i, e := range d.events {
		f := e.Body.(event.Flow)
		if i > 0 {
			got += ", "
		}
		got += fmt.Sprintf("%s %s %d %v %d/%d", f.State, f.Error, f.SYNs, f.AnswerLast != nil, f.Answered, f.Unanswered)
	}
	if got != c.want {
		t.Errorf("got %q, want %q", got, c.want)
	}
	if n := len(d.stage.byFlow) + len(d.stage.byJourney); n > 0 && len(d.stage.open) == 0 {
		t.Errorf("%d flows and journeys are kept of attempts that are over", n)
	}
}

// TestTheSlowerOfTwoAddresses: a client that tries several addresses, of both families, gives up those that are not answered first
// (RFC 8305). What another process of the namespace reaches says nothing.
func TestTheSlowerOfTwoAddresses(t *testing.T) {
	const slow, slowServer = "[fd00:244:1::2]:40000", "[fd00:9::2]:8080"
	for other, want := range map[uint32]bool{7: true, 8: false} {
		d := newDialled()
		d.pid = 7
		d.syn(slow, slowServer, slowServer).passes(time.Second).syn(slow, slowServer, slowServer).passes(500 * time.Millisecond)
		d.pid = other
		d.syn(dialClient, dialServer, dialServer).answer(dialClient, dialServer, dialServer, "S.", true)
		d.pid = 7
		d.says(slow, slowServer, event.FlowFailed, "", 2).passes(time.Second)
		if len(d.events) != 1 || d.events[0].Body.(event.Flow).Elsewhere != want {
			t.Errorf("reached by process %d: %+v", other, d.events)
		}
	}
}

// TestADropOfASYNIsKept: of the SYN that went no farther, not of a copy, nor of one that the server drops that has answered.
func TestADropOfASYNIsKept(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(*dialled) *dialled
		want bool
	}{
		{"the way ends", func(d *dialled) *dialled { return d.twice().drop("S", "NETFILTER_DROP") }, true},
		{"a copy", func(d *dialled) *dialled {
			d.twice().drop("S", "NETFILTER_DROP").observe(serverNetns, event.In, uint64(d.at)+1, dialClient, dialServer, "S", event.Hop{})
			return d
		}, false},
		{"answered before", func(d *dialled) *dialled {
			return d.twice().answer(dialClient, dialServer, dialServer, "S.", false).drop("S", "TCP_RFC7323_PAWS")
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.play(newDialled()).passes(10 * time.Second)
			if len(d.events) != 1 {
				t.Fatalf("got %d events", len(d.events))
			}
			if f := d.events[0].Body.(event.Flow); (f.Drop != nil) != c.want {
				t.Errorf("drop %+v", f.Drop)
			}
		})
	}
}

// TestAFloodOfSYNsBlindsNobodyElse: a namespace that opens too many at once is not watched in whole, and what is left out is counted.
func TestAFloodOfSYNsBlindsNobodyElse(t *testing.T) {
	d := newDialled()
	d.twice()
	for i := range 20000 {
		src := fmt.Sprintf("10.244.2.%d:%d", i%250+1, 1024+i/250)
		d.observe(99, event.Out, uint64(i)+1<<32, src, dialOther, "S", event.Hop{})
	}
	d.passes(5 * time.Second)
	if len(d.events) != 1 || d.events[0].Packet.Src != eventtest.Flow(dialClient, dialServer).Src.Addr() {
		t.Errorf("got %d events, want that of the other namespace", len(d.events))
	}
	var s event.Summary
	if d.stage.Summarize(&s); s.Evicted["connection attempts"] == 0 || d.stage.held.Size() > maxAttempts {
		t.Errorf("evicted %v, %d bytes are held", s.Evicted, d.stage.held.Size())
	}
}

// TestAFloodInNoTimeTakesNoMemory: many open connections while the events' clock stands still, and each takes the room of another.
func TestAFloodInNoTimeTakesNoMemory(t *testing.T) {
	d := newDialled()
	for i := range 20000 {
		src := fmt.Sprintf("10.244.2.%d:%d", i%250+1, 1024+i/250)
		d.observe(99+uint32(i/1000), event.Out, uint64(i)+1<<32, src, dialOther, "S", event.Hop{})
	}
	if most := 2*d.stage.held.Len() + evictedSlack + 1; len(d.stage.open) > most {
		t.Errorf("%d attempts are listed, want at most %d", len(d.stage.open), most)
	}
}
