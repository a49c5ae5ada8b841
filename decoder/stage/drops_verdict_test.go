// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"reflect"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// netfilterRun is the stage of a node that reports verdicts, and one SYN that it drops.
func netfilterRun() (*Drops, event.Event) {
	x := NewDrops()
	x.Observe(event.Event{Body: event.Fact{Node: &event.Node{Verdicts: true}}})
	return x, event.Event{Header: event.Header{Time: time.Unix(1, 0)}, Packet: packet.OfFlow("tcp", eventtest.Flow("10.0.0.1:40000", "10.0.0.2:80"), "S"), Body: event.Drop{Reason: event.ReasonNetfilter}}
}

func TestADropWaitsForItsVerdict(t *testing.T) {
	x, drop := netfilterRun()
	other := drop
	other.Packet = packet.OfFlow("tcp", drop.Packet.Flow().Reverse(), "S.")
	verdict := event.Event{Header: drop.Header, Packet: drop.Packet, Body: event.Netfilter{Op: event.NetfilterVerdict, Family: "ipv4", Hook: "forward"}}
	for _, e := range []event.Event{drop, other} {
		if got := x.Observe(e); len(got) > 0 {
			t.Fatalf("reported before its verdict: %+v", got)
		}
	}
	got := x.Observe(verdict)
	if len(got) != 2 || got[0].Packet != drop.Packet {
		t.Fatalf("%d events, want the drop and the verdict", len(got))
	}
	d := got[0].Body.(event.Drop)
	if want := (event.RuleFact{Family: "ipv4", Hook: "forward", Verdict: event.VerdictDrop}); d.Hook != "forward" || d.Netfilter == nil || !reflect.DeepEqual(*d.Netfilter, want) {
		t.Errorf("hook %q, netfilter %+v", d.Hook, d.Netfilter)
	}
	later := event.Event{Header: event.Header{Time: drop.Time.Add(2 * verdictWithin)}, Body: event.Fact{Counts: &event.Counts{}}}
	x.Observe(later) // says nothing of what the ring still holds
	if got := x.Flush(later.Time, false); len(got) > 0 {
		t.Errorf("given up early: %+v", got)
	}
	later.Body = event.Fact{} // a tick: the ring is empty
	x.Observe(later)
	late := x.Flush(later.Time, false)
	if len(late) != 1 || late[0].Packet != other.Packet || late[0].Body.(event.Drop).Hook != "" || late[0].Body.(event.Drop).Verdict != event.VerdictDrop {
		t.Errorf("without a verdict: %+v", late)
	}
}

func TestARuleThatRejectsNeedsNoAnswerToBeSeen(t *testing.T) {
	x, drop := netfilterRun()
	x.Observe(event.Event{Header: drop.Header, Packet: drop.Packet, Body: event.Netfilter{Op: event.NetfilterRejected, Answer: "port-unreachable"}})
	x.Observe(drop)
	d := x.Flush(drop.Time, true)[0].Body.(event.Drop)
	if !d.Rejected || d.Verdict != event.VerdictReject || d.Answer == nil || d.Answer.String() != "port-unreachable" {
		t.Errorf("got %+v, answer %v", d, d.Answer)
	}
}

func TestAKnownHookLeavesFewerCandidates(t *testing.T) {
	at := func(hook, fit string) event.Candidate {
		return event.Candidate{RuleFact: event.RuleFact{Hook: hook}, Fit: fit}
	}
	for _, c := range []struct {
		name       string
		hook       string
		candidates []event.Candidate
		left       int
		sure       event.Confidence
	}{
		{"no hook reported", "", []event.Candidate{at("input", "yes"), at("prerouting", "yes")}, 2, event.Possible},
		{"one rule is left", "input", []event.Candidate{at("input", "yes"), at("prerouting", "yes")}, 1, event.Likely},
		{"one that may not fit", "input", []event.Candidate{at("input", "maybe"), at("prerouting", "yes")}, 1, event.Possible},
		{"two are left", "input", []event.Candidate{at("input", "yes"), at("input", "yes"), at("prerouting", "yes")}, 2, event.Possible},
		{"none is left", "postrouting", []event.Candidate{at("input", "yes")}, 0, event.Possible},
	} {
		b := event.DropRules{Hooks: []string{"prerouting", "input"}, Candidates: c.candidates, Confidence: event.Possible}.At(c.hook)
		if len(b.Candidates) != c.left || b.Confidence != c.sure {
			t.Errorf("%s: %d candidates, %s, want %d, %s", c.name, len(b.Candidates), b.Confidence, c.left, c.sure)
		}
	}
}
