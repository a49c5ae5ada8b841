// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
)

// flowStart is when the connections of these tests are reported.
var flowStart = time.Unix(1000, 0)

// flowEvent is what a client's socket says of its connection.
func flowEvent(at time.Duration, f event.Flow) event.Event {
	e := event.Event{Header: event.Header{Time: flowStart.Add(at), Netns: 3, PID: 7, Comm: "curl"}, Packet: eventtest.Packet("tcp", "10.244.1.2:40000", "10.9.0.2:80", "")}
	f.Server = e.Packet.Destination()
	e.Body = f
	return e
}

// acceptedAt is a packet by which the server accepts another connection.
func acceptedAt(at time.Duration) event.Event {
	return event.Event{Header: event.Header{Time: flowStart.Add(at), Netns: 3}, Packet: eventtest.Packet("tcp", "10.9.0.2:80", "10.244.1.2:40002", "S."), Body: event.Hop{}}
}

// unansweredSYN is an attempt of the client that was not answered.
func unansweredSYN(at time.Duration) event.Event {
	e := flowEvent(at, event.Flow{State: event.FlowConnecting, SYNs: 3})
	e.Packet.Flags = "S"
	return e
}

// TestFlowsInTrouble: what TCP counts of a connection names the cause, and what healthy connections have names none.
func TestFlowsInTrouble(t *testing.T) {
	tcp := func(change func(*event.FlowTCP)) event.Flow {
		x := &event.FlowTCP{State: "ESTABLISHED", Sent: 1 << 20, Acked: 1 << 20, Received: 1 << 10, PeerWindow: 65535, Window: 65535, MSS: 1448, RTO: 200 * time.Millisecond, Idle: time.Millisecond, Congestion: "cubic"}
		change(x)
		return event.Flow{State: event.FlowOpen, TCP: x}
	}
	lost := func(n, of uint64, bursts uint32, change func(*event.FlowTCP)) event.Flow {
		return tcp(func(x *event.FlowTCP) { x.Loss = event.FlowLoss{Segments: of, Lost: n, Bursts: bursts}; change(x) })
	}
	as := func(*event.FlowTCP) {}
	ended := func(n, of uint64, all event.FlowLoss) event.Flow {
		f := lost(n, of, 2, func(x *event.FlowTCP) { x.All = &all })
		f.State = event.FlowEnded
		return f
	}
	hangs := func(pause time.Duration) event.Flow {
		return tcp(func(x *event.FlowTCP) {
			x.Timeouts, x.RTO, x.Unacked, x.Idle = 4, 1600*time.Millisecond, 100, 3*time.Second+pause
		})
	}
	failed := hangs(0)
	failed.State, failed.Error = event.FlowEnded, "ETIMEDOUT"
	drops := make([]event.Event, 0, 30)
	for range 30 {
		drops = append(drops, event.Event{Header: event.Header{Time: flowStart, Netns: 1}, Packet: eventtest.Packet("tcp", "10.244.1.2:40000", "10.9.0.2:80", "."), Body: event.Drop{Reason: "QDISC_DROP"}})
	}
	for _, c := range []struct {
		name     string
		flow     event.Flow
		also     []event.Event
		want     string // "" for none
		severity event.Severity
		sure     event.Confidence
		proof    string
	}{
		{name: "a third is lost", flow: lost(40, 120, 12, as), want: "tcp-loss", severity: critical, sure: event.Likely, proof: "40 of 120 segments were sent again"},
		{name: "a tenth is lost", flow: lost(20, 200, 12, as), want: "tcp-loss", severity: warning, sure: event.Likely, proof: "drop 0 packets of that way"},
		{name: "one in a hundred", flow: lost(20, 2000, 12, as)},
		{name: "the first window overshoots", flow: lost(60, 200, 1, as)},
		{name: "a few segments", flow: lost(3, 6, 3, as)},
		{name: "BBR finds out the rate", flow: lost(30, 200, 12, func(x *event.FlowTCP) { x.Congestion = "bbr" })},
		{name: "BBR and a bad way", flow: lost(80, 200, 12, func(x *event.FlowTCP) { x.Congestion = "bbr" }), want: "tcp-loss", severity: critical, sure: event.Likely, proof: "bbr"},
		{name: "a queue of this node", flow: lost(40, 120, 12, as), also: drops, want: "tcp-loss", severity: info, sure: event.Likely, proof: "dropped 30 packets of that way itself"},
		{name: "short connections together", flow: ended(2, 6, event.FlowLoss{Segments: 400, Lost: 100, Bursts: 40, Flows: 80, Lossy: 50}), want: "tcp-loss", severity: critical, sure: event.Likely, proof: "on 50 of 80 connections"},
		{name: "one of many short ones", flow: ended(2, 6, event.FlowLoss{Segments: 4000, Lost: 20, Bursts: 10, Flows: 800, Lossy: 10})},
		{name: "nothing is acknowledged", flow: hangs(0), want: "tcp-loss", severity: warning, sure: event.Likely, proof: "100 bytes are not acknowledged after 4 retransmission timeouts in 3s"},
		{name: "and then ETIMEDOUT", flow: failed, want: "tcp-loss", severity: critical, sure: event.Likely, proof: "then ETIMEDOUT"},
		{name: "after a pause, and the peer is alive", flow: hangs(time.Minute), also: []event.Event{acceptedAt(time.Second)}, want: "idle-timeout", severity: warning, sure: event.Likely, proof: "accepted or used other connections meanwhile"},
		{name: "after a pause", flow: hangs(time.Minute), want: "idle-timeout", severity: warning, sure: event.Possible, proof: "for 1m0s or more before that data"},
		{name: "after a pause, and the peer is gone", flow: hangs(time.Minute), also: []event.Event{unansweredSYN(time.Second)}, want: "tcp-loss", severity: warning, sure: event.Likely, proof: "does not answer new connections either"},
		{name: "a short pause, and the peer was alive before", flow: hangs(4 * time.Second), also: []event.Event{acceptedAt(-time.Minute)}, want: "tcp-loss", severity: warning, sure: event.Likely},
		{name: "two timeouts", flow: tcp(func(x *event.FlowTCP) { x.Timeouts, x.Unacked, x.Idle = 2, 100, time.Second })},
		{name: "keep-alives to a peer that left", flow: tcp(func(x *event.FlowTCP) { x.Idle = 3 * time.Hour })},
		{name: "the peer's window is zero", flow: tcp(func(x *event.FlowTCP) { x.Unsent, x.PeerWindow, x.Quiet = 4096, 0, 5*time.Second }), want: "receiver-stalled", severity: warning, sure: event.Certain, proof: "4096 bytes wait"},
		{name: "the own window is zero", flow: tcp(func(x *event.FlowTCP) { x.Unread, x.Window, x.Silent = 4096, 0, 5*time.Second }), want: "receiver-stalled", severity: warning, sure: event.Certain, proof: "process curl/7"},
		{name: "zero for less than a second", flow: tcp(func(x *event.FlowTCP) { x.Unsent, x.PeerWindow, x.Quiet = 4096, 0, 800*time.Millisecond })},
		{name: "idle, with a window", flow: tcp(func(x *event.FlowTCP) { x.Quiet = time.Hour })},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			r := state.Grade(NewFlows(state))
			found := r.Observe(flowEvent(0, c.flow))
			for _, e := range c.also {
				found = append(found, r.Observe(e)...)
			}
			found = append(found, r.Flush(flowStart.Add(2*time.Second), true)...)
			if c.want == "" {
				if len(found) > 0 {
					t.Fatalf("got %+v, want nothing", found)
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("got %d findings, want one: %+v", len(found), found)
			}
			if f := found[0]; f.ID != c.want || f.Severity != c.severity || f.Confidence != c.sure || !strings.Contains(strings.Join(f.Evidence, "\n"), c.proof) {
				t.Errorf("got %s %s %s %q, want %s %s %s with %q", f.ID, f.Severity, f.Confidence, f.Evidence, c.want, c.severity, c.sure, c.proof)
			}
		})
	}
}

// TestALossyWayIsOneFinding: with the connection that hangs on it, and the losses the other way.
func TestALossyWayIsOneFinding(t *testing.T) {
	state := NewState()
	r := state.Grade(NewFlows(state))
	loss := event.FlowLoss{Segments: 100, Lost: 30, Bursts: 9}
	for port := range uint16(3) {
		e := flowEvent(0, event.Flow{State: event.FlowOpen, TCP: &event.FlowTCP{Loss: loss, PeerWindow: 1000, Unacked: 10}})
		e.Packet.Sport += port
		if port == 2 {
			f := e.Body.(event.Flow)
			f.TCP.Timeouts, f.TCP.RTO, f.TCP.Idle = 4, 1600*time.Millisecond, 4*time.Second
		}
		r.Observe(e)
	}
	back := flowEvent(0, event.Flow{State: event.FlowOpen, TCP: &event.FlowTCP{Role: event.FlowServer, Loss: loss}})
	back.Packet = eventtest.Packet("tcp", "10.9.0.2:80", "10.244.1.2:40000", "")
	r.Observe(back)
	var ways []event.Finding
	for _, f := range r.Flush(flowStart.Add(time.Second), true) {
		if f.ID != "tcp-loss" || f.Subject != "10.9.0.2" {
			t.Errorf("also found %s %s: %s", f.ID, f.Subject, f.Title)
		}
		if strings.Contains(f.Evidence[0], "10.244.1.2:4000") && strings.Contains(strings.Join(f.Evidence, "\n"), "the other way: ") {
			ways = append(ways, f)
		}
	}
	if len(ways) != 2 || ways[0].Count+ways[1].Count != 4 {
		t.Errorf("got %d findings with both ways, want one each: %+v", len(ways), ways)
	}
}
