// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"cmp"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// RuleKey names a rule across readings: nftables by its handle, which never changes, iptables-legacy by its place.
type RuleKey struct {
	System       System
	Family       Family
	Table, Chain string
	Handle       uint64
	Number       int // 0 is the policy
}

func keyOf(c *Chain, r *Rule) RuleKey {
	k := RuleKey{System: c.Table.System, Family: c.Table.Family, Table: c.Table.Name, Chain: c.Name}
	switch {
	case r == nil:
	case r.Handle != 0:
		k.Handle = r.Handle
	default:
		k.Number = r.Number
	}
	return k
}

// Counts are the packets that the rules counted which may drop; it is all of a reading that the next needs.
type Counts map[RuleKey]uint64

// Counts returns those of the ruleset.
func (rs *Ruleset) Counts() Counts {
	counts := Counts{}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.countsPolicy() {
				counts[keyOf(c, nil)] = c.Counter.Packets
			}
			for i := range c.Rules {
				if r := &c.Rules[i]; r.countsDrops() {
					counts[keyOf(c, r)] = r.Counter.Packets
				}
			}
		}
	}
	return counts
}

func (c *Chain) countsPolicy() bool {
	return c.Hook != NoHook && c.Policy.Action == Drop && c.Counter.Counted
}

func (r *Rule) countsDrops() bool {
	return r.Counter.Counted && (r.Verdict.Action == Drop || r.Verdict.Action == Reject || r.Verdict.Action == Lookup)
}

// Counting returns the chains of nftables whose counters Counts is made of.
func (rs *Ruleset) Counting() []*Chain {
	var all []*Chain
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if t.System != Legacy && (c.countsPolicy() || slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.countsDrops() })) {
				all = append(all, c)
			}
		}
	}
	return all
}

// Case is a packet that netfilter dropped, and what is known of the time before.
type Case struct {
	About  event.LookupKey
	Packet Packet
	Hooks  []Hook // where it may have been; a certain one is alone
	Before Counts // nil if there was no earlier reading
	Drops  uint64 // that netfilter made in this namespace since Before was read, as far as they were seen
}

// maxCandidates is how many of them a fact lists.
const maxCandidates = 8

// DropRules names the rules that may have dropped the packet, best first, and how sure it is that it was the first of
// them. It also returns the sets whose elements have to be loaded first for a better answer.
//
// It is certain if one rule's counter rose at least as often as packets were dropped and no other that fits can have
// been it: each of them counts, and none rose. It is likely if only one rule fits, or only one rose. Else it is possible.
func (rs *Ruleset) DropRules(c Case) (event.DropRules, []*Set) {
	b := event.DropRules{About: c.About, Drops: c.Drops, Compared: c.Before != nil}
	var candidates []Candidate
	var wanted []*Set
	why := slices.Clone(rs.Unread)
	for _, h := range c.Hooks {
		b.Hooks = append(b.Hooks, h.String())
		p := c.Packet
		p.Hook = h
		w := rs.Walk(&p)
		candidates = append(candidates, w.Drops...)
		wanted = append(wanted, w.Wanted...)
		if w.Cut {
			why = append(why, h.String()+": more rules than ktrace walks")
		}
	}
	if len(candidates) == 0 && len(why) == 0 {
		candidates, wanted = rs.beneath(c.Packet, wanted)
		b.Hooks = hooksOf(candidates, b.Hooks)
	}
	if len(wanted) > 0 {
		why = append(why, "sets were not read")
	}
	b.Incomplete = strings.Join(why, "; ")
	ranked := c.rank(candidates)
	b.Confidence = confidence(ranked, c, b.Incomplete == "")
	b.More = max(0, len(ranked)-maxCandidates)
	for _, r := range ranked[:min(len(ranked), maxCandidates)] {
		s := r.fact()
		s.Asked, s.Heads = r.Chain.asked(r.Rule, &c.Packet), r.Chain.heads()
		b.Candidates = append(b.Candidates, s)
	}
	return b, wanted
}

// beneath looks for candidates where no rule for IP packets is one: at the bridge that they passed, and at the devices.
func (rs *Ruleset) beneath(p Packet, wanted []*Set) (candidates []Candidate, _ []*Set) {
	for _, family := range []Family{Bridge, Netdev} {
		for h := Prerouting; h <= Egress; h++ {
			p.Hook = h
			w := rs.walk(&p, family)
			candidates = append(candidates, w.Drops...)
			wanted = append(wanted, w.Wanted...)
		}
	}
	return candidates, wanted
}

// hooksOf are those of the candidates, each once; others if there are none.
func hooksOf(candidates []Candidate, others []string) []string {
	if len(candidates) == 0 {
		return others
	}
	var hooks []string
	for _, s := range candidates {
		if name := s.Base.Hook.String(); !slices.Contains(hooks, name) {
			hooks = append(hooks, name)
		}
	}
	return hooks
}

// ranked is a candidate with its counter.
type ranked struct {
	Candidate
	counter Counter
	rose    uint64
}

// rank puts first what rose enough, then what fits better. Packets meet rules in the order in which candidates were
// found, so equals stay in it.
func (c *Case) rank(candidates []Candidate) []ranked {
	all := make([]ranked, 0, len(candidates))
	for _, s := range candidates {
		r := ranked{Candidate: s, counter: s.Chain.Counter}
		if s.Rule != nil {
			r.counter = s.Rule.Counter
		}
		if c.Before != nil && r.counter.Counted {
			r.rose = r.counter.Packets
			if old := c.Before[keyOf(s.Chain, s.Rule)]; old <= r.rose { // else it was set to zero meanwhile
				r.rose -= old
			}
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.class(c), a.class(c)), cmp.Compare(b.Fit, a.Fit))
	})
	return all
}

// class orders candidates by their counter: 3 rose with the drops, 2 rose, 1 does not count, 0 counts and did not rose.
func (r ranked) class(c *Case) int {
	switch {
	case c.Before == nil || !r.counter.Counted:
		return 1
	case r.rose >= max(c.Drops, 1):
		return 3
	case r.rose > 0:
		return 2
	}
	return 0
}

func confidence(all []ranked, c Case, complete bool) event.Confidence {
	if len(all) == 0 {
		return ""
	}
	possible := 0 // others that can have been it
	for _, r := range all[1:] {
		if r.class(&c) > 0 {
			possible++
		}
	}
	first := all[0].class(&c)
	switch {
	case first == 0: // it counts, but did not count this
		return event.Possible
	case first == 3 && possible == 0 && complete:
		return event.Certain
	case possible == 0 && (first >= 2 || all[0].Fit == Yes):
		return event.Likely
	}
	return event.Possible
}

func (r ranked) fact() event.Candidate {
	c := r.Chain
	s := event.Candidate{Fit: r.Fit.String(), Rose: r.rose}
	s.RuleFact = event.RuleFact{
		System: string(c.Table.System), Family: c.Table.Family.String(), Table: c.Table.Name, Chain: c.Name,
		Hook: r.Base.Hook.String(), Text: c.PolicyText(), Verdict: r.Verdict.Action.String(), Reject: r.Verdict.Answer,
		Packets: r.counter.Packets, Bytes: r.counter.Bytes, Counted: r.counter.Counted,
	}
	if r.Rule != nil {
		s.Number, s.Handle, s.Text = r.Rule.Number, r.Rule.Handle, r.Rule.Text(c)
	}
	return s
}

// ChainFacts lists the chains that packets enter at hooks.
func (rs *Ruleset) ChainFacts(netns uint32) []event.ChainFact {
	var all []event.ChainFact
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Hook == NoHook {
				continue
			}
			all = append(all, event.ChainFact{Netns: netns, System: string(t.System), Family: t.Family.String(), Table: t.Name,
				Chain: c.Name, Hook: c.Hook.String(), Priority: c.Priority, Policy: c.Policy.Action.String(), Rules: len(c.Rules)})
		}
	}
	return all
}
