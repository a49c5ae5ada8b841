// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"cmp"
	"slices"

	"ktrace/decoder/event"
)

// Tracking finds the rule for which conntrack does not know the flow of a packet that was dropped: nil if there is none.
// quoted is what an ICMP error is about, nil if the packet is none. It also returns the sets that have to be loaded first
// for a better answer.
func (rs *Ruleset) Tracking(c Case, quoted *Packet) (*event.Tracking, []*Set) {
	if c.Packet.State&^(StateInvalid|StateUntracked|StateNew) != 0 {
		return nil, nil // it is part of a flow
	}
	if !rs.splits() {
		return nil, nil
	}
	x := tracking{rs: rs}
	own := c.Packet
	own.Hook = c.Hooks[0]
	received := slices.Contains(c.Hooks, Input)
	other := own.turned(received)
	t := &event.Tracking{About: c.About}
	switch {
	case quoted != nil:
		quoted.Hook, quoted.In, quoted.Out = other.Hook, other.In, other.Out
		back := quoted.turned(received && quoted.Hook == Prerouting)
		t.Of, t.Rule = event.TrackedQuoted, cmp.Or(x.untracked(quoted), x.untracked(&back))
	default:
		t.Of, t.Rule = event.TrackedPacket, x.untracked(&own)
		if t.Rule == nil {
			t.Of, t.Rule = event.TrackedOther, x.untracked(&other)
		}
		if t.Rule == nil {
			t.Of, t.Rule, t.Zone = x.split(&own, &other)
		}
	}
	if t.Rule == nil {
		return nil, x.wanted
	}
	t.Passes = x.passes(c, quoted != nil)
	return t, x.wanted
}

// Untracks reports whether a rule keeps the packet of a case from conntrack for sure.
func (rs *Ruleset) Untracks(c Case) bool {
	own := c.Packet
	own.Hook = c.Hooks[0]
	x := tracking{rs: rs}
	return rs.splits() && x.untracked(&own) != nil
}

// splits reports whether any rule keeps packets from conntrack, or gives them a zone. Most rulesets have none, and walking
// through them is dear.
func (rs *Ruleset) splits() bool {
	return slices.ContainsFunc(rs.Tables, func(t *Table) bool {
		return slices.ContainsFunc(t.Chains, func(c *Chain) bool {
			return slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.untracks() || r.zone().Set })
		})
	})
}

// tracking asks rules, and keeps which sets they need.
type tracking struct {
	rs     *Ruleset
	wanted []*Set
}

// turned is a packet of the other direction in the namespace where this one was seen. received says that this one was for
// the namespace itself.
func (p *Packet) turned(received bool) Packet {
	q := *p
	q.Src, q.Dst, q.Sport, q.Dport, q.In, q.Out = p.Dst, p.Src, p.Dport, p.Sport, p.Out, p.In
	q.FlagsKnown, q.Length, q.TTL, q.ICMP = false, 0, 0, nil
	switch {
	case p.Hook == Output:
		q.Hook, q.Out = Prerouting, ""
	case received:
		q.Hook, q.In = Output, ""
	}
	return q
}

// walk follows a packet as it comes, before conntrack has seen it.
func (x *tracking) walk(p *Packet) *Walk {
	q := *p
	q.State = 0
	w := x.rs.Walk(&q)
	x.wanted = append(x.wanted, w.Wanted...)
	return w
}

// untracked is the rule that keeps a packet from conntrack, if one does for sure.
func (x *tracking) untracked(p *Packet) *event.RuleFact {
	for _, s := range x.walk(p).Untracked {
		if s.Fit == Yes {
			fact := s.Fact()
			return &fact
		}
	}
	return nil
}

// split is the rule that puts one direction of a flow into another zone than that of the other.
func (x *tracking) split(own, other *Packet) (of string, rule *event.RuleFact, zone *uint16) {
	mine, sure := first(x.walk(own).Zones)
	theirs, sure2 := first(x.walk(other).Zones)
	if !sure || !sure2 || id(mine) == id(theirs) {
		return "", nil, nil
	}
	of, s := event.TrackedPacket, mine
	if s == nil || id(s) == 0 {
		of, s = event.TrackedOther, theirs
	}
	fact, n := s.Fact(), id(s)
	return of, &fact, &n
}

// first is the rule that counts: a packet that has a zone keeps it. It is not sure if another may have come before.
func first(zones []Candidate) (s *Candidate, sure bool) {
	if len(zones) == 0 {
		return nil, true
	}
	return &zones[0], zones[0].Fit == Yes
}

func id(s *Candidate) uint16 {
	if s == nil {
		return 0
	}
	return s.Rule.zone().ID
}

// passes is as what conntrack would have had to know the packet for no rule to drop it, "" if rules drop it all the same.
func (x *tracking) passes(c Case, isError bool) string {
	states := []struct {
		bit  uint32
		name string
	}{{StateEstablished, "ESTABLISHED"}, {StateNew, "NEW"}}
	const syn, ack = 0x02, 0x10
	switch p := c.Packet; {
	case isError:
		states[0].bit, states[0].name = StateRelated, "RELATED"
		states = states[:1]
	case p.FlagsKnown && p.Flags&(syn|ack) == syn:
		states = states[1:]
	case p.FlagsKnown:
		states = states[:1]
	}
	for _, s := range states {
		drops := false
		for _, h := range c.Hooks {
			p := c.Packet
			p.Hook, p.State = h, s.bit
			w := x.rs.Walk(&p)
			x.wanted = append(x.wanted, w.Wanted...)
			drops = drops || len(w.Drops) > 0
		}
		if !drops {
			return s.name
		}
	}
	return ""
}
