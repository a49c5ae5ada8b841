// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// learnt knows the facts given, and what netfilter said.
func learnt(facts []event.Fact, said ...event.Event) *State {
	st := NewState()
	for _, f := range facts {
		st.Observe(event.Event{Body: f})
	}
	for _, e := range said {
		st.Observe(e)
	}
	return st
}

// lostSYN is one of a pod that a node's netfilter dropped.
func lostSYN() event.Event {
	f := connection().Reverse()
	return event.Event{
		Header: event.Header{Time: time.Unix(1000, 0), Netns: 7},
		Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Flags: "S", Src: f.Src.Addr(), Sport: f.Src.Port(), Dst: f.Dst.Addr(), Dport: f.Dst.Port()},
		Body:   event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Verdict: event.VerdictDrop},
	}
}

// of is the event with another body.
func of(e event.Event, b event.Body) event.Event {
	e.Body = b
	return e
}

func TestWhatNetfilterSaysItselfIsCertain(t *testing.T) {
	syn := lostSYN()
	about := event.KeyOf(syn)
	rule := func(text string) event.Fact {
		return event.Fact{DropRules: &event.DropRules{About: about, Hooks: []string{"forward"}, Confidence: event.Certain,
			Candidates: []event.Candidate{{RuleFact: event.RuleFact{System: "nftables", Table: "t", Chain: "c", Hook: "forward", Text: text}}}}}
	}
	stats := func(rose event.ConntrackCounters) event.Fact {
		return event.Fact{Conntrack: &event.ConntrackStats{Netns: 7, Count: 9, Max: 10, Rose: rose}}
	}
	first := event.NewConntrack(connection().Reverse(), connection())
	for _, c := range []struct {
		name  string
		facts []event.Fact
		said  event.Netfilter
		id    string
		sure  event.Confidence
		proof string
	}{
		{"a race by its own word", nil, event.Netfilter{Op: event.NetfilterRefused, Lost: first},
			"conntrack-insert-race", event.Certain, "10.244.1.2:40000 > 10.9.0.2:80 was there first"},
		{"a full table, though a rule would fit", []event.Fact{stats(event.ConntrackCounters{}), rule("drop")}, event.Netfilter{Op: event.NetfilterFull},
			"conntrack-full", event.Certain, "found no room"},
		{"an invalid packet", []event.Fact{rule("ct state invalid drop")}, event.Netfilter{Op: event.NetfilterInvalid, Text: "SEQ is over the upper bound"},
			"conntrack-invalid", event.Certain, "conntrack's own message: SEQ is over the upper bound"},
		{"an invalid packet without a text", []event.Fact{rule("ct state invalid drop")}, event.Netfilter{},
			"conntrack-invalid", event.Likely, "no entry"},
	} {
		st := learnt(c.facts, of(syn, c.said))
		f, ok := st.Proves(syn, syn.Body.(event.Drop))
		if !ok || f.ID != c.id || f.Confidence != c.sure || !strings.Contains(strings.Join(f.Evidence, "\n"), c.proof) {
			t.Errorf("%s: %s %s %q, want %s %s with %q", c.name, f.ID, f.Confidence, f.Evidence, c.id, c.sure, c.proof)
		}
	}
}

// TestConntrackHitsManyByOneCause: the rule for what is invalid, a resolver whose clients race, or a translation that gives a
// port twice is one finding each, whomever it hits.
func TestConntrackHitsManyByOneCause(t *testing.T) {
	masked := netip.MustParseAddrPort("10.9.0.1:20000")
	for _, c := range []struct {
		name, proto string
		entry       func(e event.Event) (own, first *event.Conntrack) // nil if it has none
		want        string
	}{
		{"a rule for what is invalid", "tcp", func(event.Event) (*event.Conntrack, *event.Conntrack) { return nil, nil },
			"conntrack-invalid nftables ipv4 t c handle 4 in netns 7"},
		{"two queries at once, to one of many backends", "udp", func(e event.Event) (*event.Conntrack, *event.Conntrack) {
			asked := packet.FlowTuple{Src: e.Packet.Source(), Dst: netip.MustParseAddrPort("10.96.0.10:53")}
			own := event.NewConntrack(asked, e.Packet.Flow().Reverse())
			return own, own
		}, "conntrack-insert-race udp 10.96.0.10:53"},
		{"two flows that get one port", "tcp", func(e event.Event) (*event.Conntrack, *event.Conntrack) {
			to := e.Packet.Destination()
			other := packet.FlowTuple{Src: netip.MustParseAddrPort("10.244.1.9:41000"), Dst: to}
			reply := packet.FlowTuple{Src: to, Dst: masked}
			return event.NewConntrack(e.Packet.Flow(), reply), event.NewConntrack(other, reply)
		}, "conntrack-insert-race source translation to 10.9.0.1 in netns 7"},
		{"a segment that overtakes another", "tcp", func(e event.Event) (*event.Conntrack, *event.Conntrack) {
			own := event.NewConntrack(e.Packet.Flow(), e.Packet.Flow().Reverse())
			return own, own
		}, "conntrack-insert-race conntrack in netns 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all event.Folder
			for i := range 40 {
				e := lostSYN()
				p := *e.Packet
				p.Proto, p.Dst, p.Dport = c.proto, host(i).Addr(), host(i).Port()
				e.Packet = &p
				d := e.Body.(event.Drop)
				own, first := c.entry(e)
				d.Conntrack = own
				said := event.Netfilter{Op: event.NetfilterRefused, Lost: first}
				if first == nil {
					said.Op = event.NetfilterInvalid
				}
				rule := event.RuleFact{System: "nftables", Family: "ipv4", Table: "t", Chain: "c", Handle: 4, Text: "ct state invalid drop"}
				blame := event.DropRules{About: event.KeyOf(e), Confidence: event.Certain, Candidates: []event.Candidate{{RuleFact: rule}}}
				f, _ := learnt([]event.Fact{{DropRules: &blame}}, of(e, said)).Proves(e, d)
				all.Add(f)
			}
			found := all.All()
			if len(found) != 1 || found[0].ID+" "+found[0].Subject != c.want || found[0].Count != 40 || len(found[0].Hits) != 40 {
				t.Errorf("found %+v, want %s once, with 40 hits", found, c.want)
			}
		})
	}
}

// host is one of many.
func host(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 1, byte(i)}), 53)
}

func TestTheHookThatDroppedIsNamed(t *testing.T) {
	syn := lostSYN()
	d := syn.Body.(event.Drop)
	d.Hook, d.Rejected, d.Answer, d.Verdict = "forward", true, &event.Answer{Name: "tcp-reset"}, event.VerdictReject
	f, ok := NewState().Proves(of(syn, d), d)
	if !ok || f.ID != "netfilter-reject" || !slices.Contains(f.Evidence, "dropped in hook forward, as the hook itself reported") ||
		!slices.Contains(f.Evidence, "netfilter itself answered its sender: tcp-reset") {
		t.Errorf("%s %q", f.ID, f.Evidence)
	}
}

// TestAServiceThatNoRuleIsFor: the kernel may report that no rule matched; that the address is a service's is another matter.
func TestAServiceThatNoRuleIsFor(t *testing.T) {
	syn := lostSYN()
	listed := event.ServiceFact{Source: "api", Namespace: "shop", Name: "web", Addrs: []netip.Addr{syn.Packet.Dst},
		Ports: []event.ServicePort{{Proto: "tcp", Port: syn.Packet.Dport}}}
	by := func(source string, netns uint32) event.Fact {
		f := listed
		f.Source, f.Netns = source, netns
		if source != "api" {
			f.Namespace, f.Name = "", ""
		}
		return event.Fact{Service: &f}
	}
	device := func(netns uint32) event.Fact {
		return event.Fact{Device: &event.Device{Netns: netns, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(syn.Packet.Src, 24)}}}
	}
	untranslated := of(syn, event.Netfilter{Op: event.NetfilterUntranslated})
	for _, c := range []struct {
		name string
		know *State
		sure event.Confidence
		hook string
	}{
		{"no hook reported it", learnt([]event.Fact{by("api", 0)}), event.Certain, ""},
		{"a pod's flow", learnt([]event.Fact{by("api", 0)}, untranslated), event.Certain, "at hook prerouting"},
		{"the node's own flow", learnt([]event.Fact{by("api", 0), device(7)}, untranslated), event.Certain, "at hook output"},
		{"as the kubelet is configured", learnt([]event.Fact{by("kubelet", 0)}, untranslated), event.Likely, "at hook prerouting"},
		{"as the client's resolv.conf has it", learnt([]event.Fact{by("resolv", 8), device(8)}, untranslated), event.Likely, "nothing but the client's own files"},
		{"as another pod's resolv.conf has it", learnt([]event.Fact{by("resolv", 9), device(8)}, untranslated), "", ""},
		{"as the client's environment has it", learnt([]event.Fact{by("env", 8), device(8)}, untranslated), event.Possible, "nothing but the client's own files"},
	} {
		f, ok := c.know.dnatMiss(syn, nil, "here")
		if ok != (c.sure != "") || ok && f.ID != "service-dnat-miss" || f.Confidence != c.sure || !strings.Contains(strings.Join(f.Evidence, "\n"), c.hook) {
			t.Errorf("%s: %s %s %q", c.name, f.ID, f.Confidence, f.Evidence)
		}
		if mild := strings.Contains(c.hook, "own files"); ok && (f.Severity == event.Warning) != mild {
			t.Errorf("%s: severity %q", c.name, f.Severity)
		}
	}
}

// TestASlowServerIsNoService: which server a file names is a guess at a service until it answers.
func TestASlowServerIsNoService(t *testing.T) {
	syn := lostSYN()
	service := event.Fact{Service: &event.ServiceFact{Source: "kubelet", Addrs: []netip.Addr{syn.Packet.Dst}, Ports: []event.ServicePort{{Proto: "tcp", Port: syn.Packet.Dport}}}}
	answer := of(syn, event.Hop{})
	answer.Direction, answer.Packet = event.In, &packet.Packet{Family: "ipv4", Proto: "tcp", Flags: "S.",
		Src: syn.Packet.Dst, Sport: syn.Packet.Dport, Dst: syn.Packet.Src, Dport: syn.Packet.Sport}
	for _, c := range []struct {
		name     string
		answered time.Duration // 0: never
		found    int
	}{
		{"a server that takes two seconds", 2 * time.Second, 0},
		{"no server", 0, 1},
	} {
		st := learnt([]event.Fact{service})
		x := NewTranslations(st)
		miss := of(syn, event.NAT{Original: syn.Packet.Flow(), State: event.NATMiss})
		st.Observe(miss)
		x.Observe(miss)
		var found []event.Finding
		for age := time.Duration(0); age <= factsDeadline; age += time.Second {
			if c.answered != 0 && age == c.answered {
				st.Observe(answer)
			}
			found = append(found, x.Flush(syn.Time.Add(age), false)...)
		}
		if len(found) != c.found {
			t.Errorf("%s: %d findings, want %d: %+v", c.name, len(found), c.found, found)
		}
	}
}
