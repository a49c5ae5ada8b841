package decoder

import (
	"reflect"
	"testing"
	"time"
)

// netfilterRun is the stage behind a node that tells verdicts, and one SYN that it drops.
func netfilterRun() (*Drops, Event) {
	x := NewDrops()
	x.Observe(Event{Body: Fact{Node: &Node{Verdicts: true}}})
	return x, Event{Header: Header{Time: time.Unix(1, 0)}, Packet: bare("tcp", flowOf("10.0.0.1:40000", "10.0.0.2:80"), "S"), Body: Drop{Reason: reasonNetfilter}}
}

func TestADropWaitsForItsVerdict(t *testing.T) {
	x, drop := netfilterRun()
	other := drop
	other.Packet = bare("tcp", drop.Packet.Flow().Reverse(), "S.")
	verdict := Event{Header: drop.Header, Packet: drop.Packet, Body: Netfilter{Op: NetfilterVerdict, Family: "ipv4", Hook: "forward"}}
	for _, e := range []Event{drop, other} {
		if got := x.Observe(e); len(got) > 0 {
			t.Fatalf("told before its verdict: %+v", got)
		}
	}
	got := x.Observe(verdict)
	if len(got) != 2 || got[0].Packet != drop.Packet {
		t.Fatalf("%d events, want the drop and the verdict", len(got))
	}
	d := got[0].Body.(Drop)
	if want := (RuleFact{Family: "ipv4", Hook: "forward", Verdict: VerdictDrop}); d.Hook != "forward" || d.Netfilter == nil || !reflect.DeepEqual(*d.Netfilter, want) {
		t.Errorf("hook %q, netfilter %+v", d.Hook, d.Netfilter)
	}
	later := Event{Header: Header{Time: drop.Time.Add(2 * verdictWithin)}, Body: Fact{Counts: &Counts{}}}
	x.Observe(later) // says nothing of what the ring still holds
	if got := x.Flush(later.Time, false); len(got) > 0 {
		t.Errorf("given up early: %+v", got)
	}
	later.Body = Fact{} // a tick: the ring is empty
	x.Observe(later)
	late := x.Flush(later.Time, false)
	if len(late) != 1 || late[0].Packet != other.Packet || late[0].Body.(Drop).Hook != "" || late[0].Body.(Drop).Verdict != VerdictDrop {
		t.Errorf("without a verdict: %+v", late)
	}
}

func TestARuleThatRejectsNeedsNoAnswerToBeSeen(t *testing.T) {
	x, drop := netfilterRun()
	x.Observe(Event{Header: drop.Header, Packet: drop.Packet, Body: Netfilter{Op: NetfilterRejected, Answer: "port-unreachable"}})
	x.Observe(drop)
	d := x.Flush(drop.Time, true)[0].Body.(Drop)
	if !d.Rejected || d.Verdict != VerdictReject || d.Answer == nil || d.Answer.String() != "port-unreachable" {
		t.Errorf("got %+v, answer %v", d, d.Answer)
	}
}

func TestAKnownHookLeavesFewerSuspects(t *testing.T) {
	at := func(hook, fit string) Suspect { return Suspect{RuleFact: RuleFact{Hook: hook}, Fit: fit} }
	for _, c := range []struct {
		name     string
		hook     string
		suspects []Suspect
		left     int
		sure     Confidence
	}{
		{"nobody said which", "", []Suspect{at("input", "yes"), at("prerouting", "yes")}, 2, Possible},
		{"one rule is left", "input", []Suspect{at("input", "yes"), at("prerouting", "yes")}, 1, Likely},
		{"one that may not fit", "input", []Suspect{at("input", "maybe"), at("prerouting", "yes")}, 1, Possible},
		{"two are left", "input", []Suspect{at("input", "yes"), at("input", "yes"), at("prerouting", "yes")}, 2, Possible},
		{"none is left", "postrouting", []Suspect{at("input", "yes")}, 0, Possible},
	} {
		b := Blame{Hooks: []string{"prerouting", "input"}, Suspects: c.suspects, Confidence: Possible}.At(c.hook)
		if len(b.Suspects) != c.left || b.Confidence != c.sure {
			t.Errorf("%s: %d suspects, %s, want %d, %s", c.name, len(b.Suspects), b.Confidence, c.left, c.sure)
		}
	}
}
