// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
)

// TestAConnectWithoutAPortIsNamed: the kernel says so, whether or not the range of ports is known.
func TestAConnectWithoutAPortIsNamed(t *testing.T) {
	for _, ports := range []string{"", "40000\t40001"} {
		state := NewState()
		if ports != "" {
			state.Observe(event.Event{Body: event.Fact{Sysctl: &event.Sysctl{Netns: 3, Key: "net.ipv4.ip_local_port_range", Value: ports}}})
		}
		e := event.Event{Header: event.Header{Netns: 3, PID: 7, Comm: "curl"}, Packet: eventtest.Packet("tcp", "10.244.1.2:0", "10.96.0.7:80", "S")}
		e.Body = event.Flow{State: event.FlowFailed, SYNs: 1, Server: e.Packet.Destination(), ClientNetns: 3, Local: true}
		found := state.Grade(NewConnects(state)).Observe(e)
		if len(found) != 1 || found[0].ID != "ports-exhausted" || found[0].Severity != event.Critical || found[0].Confidence != event.Certain {
			t.Fatalf("got %+v", found)
		}
		if got := strings.Contains(strings.Join(found[0].Evidence, "\n"), "40000 to 40001"); got != (ports != "") {
			t.Errorf("with the range %q: %q", ports, found[0].Evidence)
		}
	}
}

// TestConnectsWithoutAnAnswer: what failed is reported, as far as nothing else explains it; what clients do who try whether
// there is an answer is no failure.
func TestConnectsWithoutAnAnswer(t *testing.T) {
	flow := eventtest.Flow("10.244.1.2:40000", "10.96.0.7:80")
	left := &event.Sight{Netns: 1, Iface: "eth0", Direction: event.Out, Flow: flow}
	came := &event.Sight{Netns: 2, Iface: "eth0", Direction: event.In, Flow: flow, Answer: true}
	base := event.Flow{State: event.FlowFailed, Error: "ETIMEDOUT", SYNs: 7, Took: 127 * time.Second, Server: flow.Dst, ClientNetns: 3, Local: true, Last: left, Unanswered: 1}
	but := func(change func(*event.Flow)) event.Flow { f := base; change(&f); return f }
	for _, c := range []struct {
		name  string
		flow  event.Flow
		want  event.Severity // "" for none
		sure  event.Confidence
		proof string
	}{
		{"the kernel gives up", base, event.Critical, event.Certain, "7 SYNs in 2m7s, then ETIMEDOUT"},
		{"it still waits", but(func(f *event.Flow) { f.State, f.Error, f.SYNs = event.FlowConnecting, "", 3 }), event.Critical, event.Likely, "and it still waits"},
		{"one SYN sent again", but(func(f *event.Flow) { f.State, f.Error, f.SYNs = event.FlowConnecting, "", 2 }), event.Warning, event.Likely, "2 SYNs"},
		{"the application gives up", but(func(f *event.Flow) { f.Error, f.SYNs = "", 2 }), event.Warning, event.Likely, "then the application gave up"},
		{"the server answers others", but(func(f *event.Flow) { f.Answered = 4 }), event.Warning, event.Certain, "answered meanwhile: 4"},
		{"other ports answer", but(func(f *event.Flow) { f.HostAnswered = 4 }), event.Critical, event.Certain, "other ports of 10.96.0.7 that were answered meanwhile: 4"},
		{"the answer is lost on the node", but(func(f *event.Flow) { f.AnswerLast = came }), event.Critical, event.Likely, "answer last seen"},
		{"no SYN at a device", but(func(f *event.Flow) { f.Last = nil }), event.Critical, event.Likely, "ETIMEDOUT"},
		{"a client elsewhere", but(func(f *event.Flow) { f.State, f.Error, f.Local = event.FlowConnecting, "", false }), event.Warning, event.Likely, ""},
		{"of two addresses the other answers", but(func(f *event.Flow) { f.Error, f.Elsewhere = "", true }), event.Info, "", "another address of port 80"},
		{"a port scan", but(func(f *event.Flow) { f.Error, f.PortsTried = "", 8 }), event.Info, "", "a port scan"},
		{"an ICMP error that was not seen", but(func(f *event.Flow) { f.Error = "EHOSTUNREACH" }), "", "", ""},
		{"DNS over TCP", but(func(f *event.Flow) { f.Server = eventtest.Flow("10.244.1.2:40000", "10.96.0.10:53").Dst }), "", "", ""},
		{"it was dropped", but(func(f *event.Flow) { f.Drop = &event.Loss{} }), "", "", ""},
		{"a router answers", but(func(f *event.Flow) { f.ICMP = &event.ICMP{} }), "", "", ""},
		{"the accept queue is full", but(func(f *event.Flow) { f.Overflowed = true }), "", "", ""},
		{"a capture of one direction", but(func(f *event.Flow) { f.OneSided = true }), "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			e := event.Event{Header: event.Header{Time: time.Unix(1000, 0)}, Packet: eventtest.Packet("tcp", "10.244.1.2:40000", "10.96.0.7:80", "S"), Body: c.flow}
			found := state.Grade(NewConnects(state)).Observe(e)
			if len(found) == 0 {
				found = []event.Finding{{}}
			}
			f := found[0]
			if f.Severity != c.want || c.sure != "" && f.Confidence != c.sure || !strings.Contains(strings.Join(f.Evidence, "\n"), c.proof) {
				t.Errorf("got %s %s %q, want %s %s %q", f.Severity, f.Confidence, f.Evidence, c.want, c.sure, c.proof)
			}
		})
	}
}
