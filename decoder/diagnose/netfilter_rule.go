package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder"
)

// culprit is a rule that dropped packets.
type culprit struct {
	decoder.RuleFact
	id  string
	met []aim // what it dropped
}

// aim is what a packet was for, as far as rules look at it.
type aim struct {
	proto string
	port  uint16
}

// culprits are the rules that are known to have dropped packets, by where. There are packets of which the node does not
// say which rule it was: on a busy node it is asked too late, or not at all. They died of a rule that others died of.
type culprits struct {
	known decoder.Recent[rulePlace, []culprit]
}

// rulePlace is where packets of one family meet rules.
type rulePlace struct {
	netns  uint32
	family string
}

const (
	maxCulprits = 64 // in one namespace
	maxMet      = 64 // aims, of one rule
)

// of returns the rule that a packet died of, or, if it is not known, the place; sure is whether it is the one rule.
func (c *culprits) of(e decoder.Event, d decoder.Drop, b decoder.Blame) (rule culprit, sure bool) {
	place := rulePlace{e.Netns, e.Packet.Family}
	port := aim{e.Packet.Proto, e.Packet.Dport}
	switch {
	case len(b.Suspects) > 0 && (b.Confidence != decoder.Possible || len(b.Suspects) == 1 && b.More == 0):
		return c.met(place, culprit{RuleFact: b.Suspects[0].RuleFact, id: ruleID(e.Netns, b.Suspects[0].RuleFact)}, port), true
	case len(b.Suspects) > 0:
		var ids []string
		for _, s := range b.Suspects {
			ids = append(ids, ruleID(e.Netns, s.RuleFact))
		}
		return culprit{RuleFact: b.Suspects[0].RuleFact, id: strings.Join(ids, " or ")}, false
	case len(b.Hooks) == 0 || b.Incomplete != "":
		if one, ok := c.likely(place, d.Hook, port); ok {
			return one, true
		}
	}
	if d.Hook != "" {
		return culprit{id: fmt.Sprintf("%s hook %s in netns %d", e.Packet.Family, d.Hook, e.Netns)}, false
	}
	return culprit{id: fmt.Sprintf("%s rules in netns %d", e.Packet.Family, e.Netns)}, false
}

// met notes what a rule dropped.
func (c *culprits) met(at rulePlace, rule culprit, what aim) culprit {
	all, _ := c.known.Get(at)
	i := slices.IndexFunc(all, func(x culprit) bool { return x.id == rule.id })
	if i < 0 {
		if len(all) >= maxCulprits {
			return rule
		}
		all, i = append(all, rule), len(all)
	}
	if len(all[i].met) < maxMet && !slices.Contains(all[i].met, what) {
		all[i].met = append(all[i].met, what)
	}
	c.known.Put(at, all)
	return rule
}

// likely is the only rule that dropped packets there and that can have dropped this: the policy of a chain takes
// whatever comes to it, another rule what it is known to take.
func (c *culprits) likely(at rulePlace, hook string, what aim) (one culprit, ok bool) {
	all, _ := c.known.Get(at)
	for _, x := range all {
		policy := x.Number == 0 && x.Handle == 0
		if hook != "" && hook != x.Hook || !policy && !slices.Contains(x.met, what) {
			continue
		}
		if ok {
			return culprit{}, false
		}
		one, ok = x, true
	}
	return one, ok
}

// ruleID distinguishes a rule from all others.
func ruleID(netns uint32, r decoder.RuleFact) string {
	which := "policy"
	switch {
	case r.Handle != 0:
		which = fmt.Sprintf("handle %d", r.Handle)
	case r.Number != 0:
		which = fmt.Sprintf("rule %d", r.Number)
	}
	return fmt.Sprintf("%s %s %s %s %s in netns %d", r.System, r.Family, r.Table, r.Chain, which, netns)
}
