package decoder

import (
	"reflect"
	"testing"
	"time"
)

const nfClient, nfServer = "10.0.0.1:40000", "10.0.0.2:80"

// netfilterRaw is a record about a SYN from the client to the server.
func netfilterRaw(t testing.TB, r netfilterRecord) []byte {
	t.Helper()
	r.Hdr.Size, r.Hdr.Kind = uint32((*netfilterRecord)(nil).recordSize()), uint16(kindNetfilter)
	r.Packet, r.TcpFlags = tuple(nfClient, nfServer, 6, 4), 2
	return rawRecord(t, r)
}

func TestDecodeNetfilter(t *testing.T) {
	text := func(s string) (b [128]uint8) { copy(b[:], s); return b }
	flow := tuple(nfClient, nfServer, 6, 4)
	for _, c := range []struct {
		name   string
		record netfilterRecord
		want   Netfilter
	}{
		{"a verdict", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 2, Hook: 2}, Netfilter{Op: NetfilterVerdict, Family: "ipv4", Hook: "forward"}},
		{"of a bridge", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 7, Hook: 4}, Netfilter{Op: NetfilterVerdict, Family: "bridge", Hook: "postrouting"}},
		{"of a device", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 5, Hook: 1}, Netfilter{Op: NetfilterVerdict, Family: "netdev", Hook: "egress"}},
		{"of who knows what", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 99, Hook: 77},
			Netfilter{Op: NetfilterVerdict, Family: "unknown(0x63)", Hook: "unknown(0x4d)"}},
		{"no rule", netfilterRecord{Op: uint32(netfilterUntranslated), Hook: noHook}, Netfilter{Op: NetfilterUntranslated}},
		{"a reset", netfilterRecord{Op: uint32(netfilterRejected), Pf: 10, Hook: 1},
			Netfilter{Op: NetfilterRejected, Family: "ipv6", Hook: "input", Answer: "tcp-reset"}},
		{"an ICMP error", netfilterRecord{Op: uint32(netfilterRejected), Pf: 2, Hook: 3, Icmp: 3<<8 | 13},
			Netfilter{Op: NetfilterRejected, Family: "ipv4", Hook: "output", Answer: "admin-prohibited"}},
		{"a race", netfilterRecord{Op: uint32(netfilterRefused), Hook: noHook, Original: flow, Reply: tuple(nfServer, nfClient, 6, 4)},
			Netfilter{Op: NetfilterRefused, Lost: NewConntrack(tupleFlow(&flow), tupleFlow(&flow).Reverse())}},
		{"an entry on its way out", netfilterRecord{Op: uint32(netfilterRefused), Hook: noHook, Status: ipsDying}, Netfilter{Op: NetfilterRefused, Dying: true}},
		{"a text without its numbers", netfilterRecord{Op: uint32(netfilterInvalid), Hook: noHook, Text: text("packet (index %d) in dir %-3d ignored, state %s")},
			Netfilter{Op: NetfilterInvalid, Text: "packet (index) in dir ignored, state"}},
		{"an operation of the future", netfilterRecord{Op: 99, Hook: noHook}, Netfilter{Op: "unknown(0x63)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Decode(netfilterRaw(t, c.record))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(e.Body, c.want) {
				t.Errorf("got %+v, want %+v", e.Body, c.want)
			}
			if got := e.Packet.Flow().String(); got != nfClient+" > "+nfServer || e.Packet.Flags != "S" {
				t.Errorf("packet %v", e.Packet)
			}
		})
	}
}

// netfilterRun is the stage behind a node that tells verdicts, and one SYN that it drops.
func netfilterRun() (*Drops, Event) {
	x := NewDrops()
	x.Observe(Event{Body: Fact{Node: &Node{Verdicts: true}}})
	flow := tuple(nfClient, nfServer, 6, 4)
	return x, Event{Header: Header{Time: time.Unix(1, 0)}, Packet: bare("tcp", tupleFlow(&flow), "S"), Body: Drop{Reason: reasonNetfilter}}
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
