// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// droppingRule is a rule that dropped packets.
type droppingRule struct {
	event.RuleFact
	id      string
	dropped []protoPort // what it dropped
}

// protoPort is the part of a packet's destination that most rules match.
type protoPort struct {
	proto string
	port  uint16
}

// droppingRules are the rules that are known to have dropped packets, by place. For some packets the node does not
// report the rule: it is read too late, or not at all, when it is busy. Those are attributed to a rule that dropped
// others there.
type droppingRules struct {
	known bounded.Map[rulePlace, []droppingRule]
}

// rulePlace is where packets of one family meet rules.
type rulePlace struct {
	netns  uint32
	family string
}

const (
	maxDroppingRules = 64 // in one namespace
	maxDroppedPorts  = 64 // of one rule
)

// find returns the rule that dropped a packet, or, if it is not known, the place; sure is whether it is the one rule.
func (c *droppingRules) find(e event.Event, d event.Drop, b event.DropRules) (rule droppingRule, sure bool) {
	place := rulePlace{e.Netns, e.Packet.Family}
	port := protoPort{e.Packet.Proto, e.Packet.Dport}
	switch {
	case len(b.Candidates) > 0 && (b.Confidence != event.Possible || len(b.Candidates) == 1 && b.More == 0):
		return c.record(place, droppingRule{RuleFact: b.Candidates[0].RuleFact, id: ruleID(e.Netns, b.Candidates[0].RuleFact)}, port), true
	case len(b.Candidates) > 0:
		var ids []string
		for _, s := range b.Candidates {
			ids = append(ids, ruleID(e.Netns, s.RuleFact))
		}
		return droppingRule{RuleFact: b.Candidates[0].RuleFact, id: strings.Join(ids, " or ")}, false
	case len(b.Hooks) == 0 || b.Incomplete != "":
		if one, ok := c.onlyMatch(place, d.Hook, port); ok {
			return one, true
		}
	}
	if d.Hook != "" {
		return droppingRule{id: fmt.Sprintf("%s hook %s in netns %d", e.Packet.Family, d.Hook, e.Netns)}, false
	}
	return droppingRule{id: fmt.Sprintf("%s rules in netns %d", e.Packet.Family, e.Netns)}, false
}

// record keeps what a rule dropped.
func (c *droppingRules) record(at rulePlace, rule droppingRule, what protoPort) droppingRule {
	all, _ := c.known.Get(at)
	i := slices.IndexFunc(all, func(x droppingRule) bool { return x.id == rule.id })
	if i < 0 {
		if len(all) >= maxDroppingRules {
			return rule
		}
		all, i = append(all, rule), len(all)
	}
	if len(all[i].dropped) < maxDroppedPorts && !slices.Contains(all[i].dropped, what) {
		all[i].dropped = append(all[i].dropped, what)
	}
	c.known.Put(at, all)
	return rule
}

// onlyMatch is the only rule that dropped packets there and that can have dropped this one: a chain's policy drops any
// packet, another rule only what it is known to drop.
func (c *droppingRules) onlyMatch(at rulePlace, hook string, what protoPort) (one droppingRule, ok bool) {
	all, _ := c.known.Get(at)
	for _, x := range all {
		policy := x.Number == 0 && x.Handle == 0
		if hook != "" && hook != x.Hook || !policy && !slices.Contains(x.dropped, what) {
			continue
		}
		if ok {
			return droppingRule{}, false
		}
		one, ok = x, true
	}
	return one, ok
}

// ruleID distinguishes a rule from all others.
func ruleID(netns uint32, r event.RuleFact) string {
	which := "policy"
	switch {
	case r.Handle != 0:
		which = fmt.Sprintf("handle %d", r.Handle)
	case r.Number != 0:
		which = fmt.Sprintf("rule %d", r.Number)
	}
	return fmt.Sprintf("%s %s %s %s %s in netns %d", r.System, r.Family, r.Table, r.Chain, which, netns)
}
