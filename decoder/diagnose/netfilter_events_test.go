package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder"
)

// learnt knows the facts given, and what netfilter said.
func learnt(facts []decoder.Fact, said ...decoder.Event) *State {
	st := NewState()
	for _, f := range facts {
		st.Observe(decoder.Event{Body: f})
	}
	for _, e := range said {
		st.Observe(e)
	}
	return st
}

// lostSYN is one of a pod that a node's netfilter dropped.
func lostSYN() decoder.Event {
	f := connection().Reverse()
	return decoder.Event{
		Header: decoder.Header{Time: time.Unix(1000, 0), Netns: 7},
		Packet: &decoder.Packet{Family: "ipv4", Proto: "tcp", Flags: "S", Src: f.Src.Addr(), Sport: f.Src.Port(), Dst: f.Dst.Addr(), Dport: f.Dst.Port()},
		Body:   decoder.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Verdict: decoder.VerdictDrop},
	}
}

// of is the event with another body.
func of(e decoder.Event, b decoder.Body) decoder.Event {
	e.Body = b
	return e
}

func TestWhatNetfilterSaysItselfIsCertain(t *testing.T) {
	syn := lostSYN()
	about := decoder.Ask(syn)
	rule := func(text string) decoder.Fact {
		return decoder.Fact{Blame: &decoder.Blame{About: about, Hooks: []string{"forward"}, Confidence: decoder.Certain,
			Suspects: []decoder.Suspect{{RuleFact: decoder.RuleFact{System: "nftables", Table: "t", Chain: "c", Hook: "forward", Text: text}}}}}
	}
	stats := func(rose decoder.ConntrackCounters) decoder.Fact {
		return decoder.Fact{Conntrack: &decoder.ConntrackStats{Netns: 7, Count: 9, Max: 10, Rose: rose}}
	}
	first := decoder.NewConntrack(connection().Reverse(), connection())
	for _, c := range []struct {
		name  string
		facts []decoder.Fact
		said  decoder.Netfilter
		id    string
		sure  decoder.Confidence
		proof string
	}{
		{"a race by its own word", nil, decoder.Netfilter{Op: decoder.NetfilterRefused, Lost: first},
			"conntrack-insert-race", decoder.Certain, "10.244.1.2:40000 > 10.9.0.2:80 was there first"},
		{"a full table, though a rule would fit", []decoder.Fact{stats(decoder.ConntrackCounters{}), rule("drop")}, decoder.Netfilter{Op: decoder.NetfilterFull},
			"conntrack-full", decoder.Certain, "found no room"},
		{"an invalid packet", []decoder.Fact{rule("ct state invalid drop")}, decoder.Netfilter{Op: decoder.NetfilterInvalid, Text: "SEQ is over the upper bound"},
			"conntrack-invalid", decoder.Certain, "conntrack says of it: SEQ is over the upper bound"},
		{"an invalid packet without a text", []decoder.Fact{rule("ct state invalid drop")}, decoder.Netfilter{},
			"conntrack-invalid", decoder.Likely, "no entry"},
	} {
		st := learnt(c.facts, of(syn, c.said))
		f, ok := st.Proves(syn, syn.Body.(decoder.Drop))
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
		entry       func(e decoder.Event) (own, first *decoder.Conntrack) // nil if it has none
		want        string
	}{
		{"a rule for what is invalid", "tcp", func(decoder.Event) (*decoder.Conntrack, *decoder.Conntrack) { return nil, nil },
			"conntrack-invalid nftables ipv4 t c handle 4 in netns 7"},
		{"two queries at once, to one of many backends", "udp", func(e decoder.Event) (*decoder.Conntrack, *decoder.Conntrack) {
			asked := decoder.FlowTuple{Src: e.Packet.Source(), Dst: netip.MustParseAddrPort("10.96.0.10:53")}
			own := decoder.NewConntrack(asked, e.Packet.Flow().Reverse())
			return own, own
		}, "conntrack-insert-race udp 10.96.0.10:53"},
		{"two flows that get one port", "tcp", func(e decoder.Event) (*decoder.Conntrack, *decoder.Conntrack) {
			to := e.Packet.Destination()
			other := decoder.FlowTuple{Src: netip.MustParseAddrPort("10.244.1.9:41000"), Dst: to}
			reply := decoder.FlowTuple{Src: to, Dst: masked}
			return decoder.NewConntrack(e.Packet.Flow(), reply), decoder.NewConntrack(other, reply)
		}, "conntrack-insert-race source translation to 10.9.0.1 in netns 7"},
		{"a segment that overtakes another", "tcp", func(e decoder.Event) (*decoder.Conntrack, *decoder.Conntrack) {
			own := decoder.NewConntrack(e.Packet.Flow(), e.Packet.Flow().Reverse())
			return own, own
		}, "conntrack-insert-race conntrack in netns 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all decoder.Folder
			for i := range 40 {
				e := lostSYN()
				p := *e.Packet
				p.Proto, p.Dst, p.Dport = c.proto, host(i).Addr(), host(i).Port()
				e.Packet = &p
				d := e.Body.(decoder.Drop)
				own, first := c.entry(e)
				d.Conntrack = own
				said := decoder.Netfilter{Op: decoder.NetfilterRefused, Lost: first}
				if first == nil {
					said.Op = decoder.NetfilterInvalid
				}
				rule := decoder.RuleFact{System: "nftables", Family: "ipv4", Table: "t", Chain: "c", Handle: 4, Text: "ct state invalid drop"}
				blame := decoder.Blame{About: decoder.Ask(e), Confidence: decoder.Certain, Suspects: []decoder.Suspect{{RuleFact: rule}}}
				f, _ := learnt([]decoder.Fact{{Blame: &blame}}, of(e, said)).Proves(e, d)
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
	d := syn.Body.(decoder.Drop)
	d.Hook, d.Rejected, d.Answer, d.Verdict = "forward", true, &decoder.Answer{Name: "tcp-reset"}, decoder.VerdictReject
	f, ok := NewState().Proves(of(syn, d), d)
	if !ok || f.ID != "netfilter-reject" || !slices.Contains(f.Evidence, "dropped in hook forward, as the hook says itself") ||
		!slices.Contains(f.Evidence, "netfilter itself answered its sender: tcp-reset") {
		t.Errorf("%s %q", f.ID, f.Evidence)
	}
}

func TestAServiceThatNoRuleIsForIsCertain(t *testing.T) {
	syn := lostSYN()
	server := syn.Packet.Dst
	service := decoder.Fact{Service: &decoder.ServiceFact{Source: "resolv", Netns: 8, Addrs: []netip.Addr{server}}}
	node := decoder.Fact{Device: &decoder.Device{Netns: 7, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(syn.Packet.Src, 24)}}}
	untranslated := of(syn, decoder.Netfilter{Op: decoder.NetfilterUntranslated})
	for _, c := range []struct {
		name string
		know *State
		sure decoder.Confidence
		hook string
	}{
		{"nobody said so", learnt([]decoder.Fact{service}), decoder.Likely, ""},
		{"a pod's flow", learnt([]decoder.Fact{service}, untranslated), decoder.Certain, "at hook prerouting"},
		{"the node's own flow", learnt([]decoder.Fact{service, node}, untranslated), decoder.Certain, "at hook output"},
	} {
		f, ok := c.know.dnatMiss(syn, nil, "here")
		if !ok || f.ID != "service-dnat-miss" || f.Confidence != c.sure || !strings.Contains(strings.Join(f.Evidence, "\n"), c.hook) {
			t.Errorf("%s: %s %s %q", c.name, f.ID, f.Confidence, f.Evidence)
		}
	}
}

// TestASlowServerIsNoService: which server a resolv.conf names is a guess at a service until it answers.
func TestASlowServerIsNoService(t *testing.T) {
	syn := lostSYN()
	service := decoder.Fact{Service: &decoder.ServiceFact{Source: "resolv", Netns: 8, Addrs: []netip.Addr{syn.Packet.Dst}}}
	answer := of(syn, decoder.Hop{})
	answer.Direction, answer.Packet = decoder.In, &decoder.Packet{Family: "ipv4", Proto: "tcp", Flags: "S.",
		Src: syn.Packet.Dst, Sport: syn.Packet.Dport, Dst: syn.Packet.Src, Dport: syn.Packet.Sport}
	for _, c := range []struct {
		name     string
		answered time.Duration // 0: never
		found    int
	}{
		{"a server that takes two seconds", 2 * time.Second, 0},
		{"nobody", 0, 1},
	} {
		st := learnt([]decoder.Fact{service})
		x := NewTranslations(st)
		miss := of(syn, decoder.NAT{Original: syn.Packet.Flow(), State: decoder.NATMiss})
		st.Observe(miss)
		x.Observe(miss)
		var found []decoder.Finding
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
