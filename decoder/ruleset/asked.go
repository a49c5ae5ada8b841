// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"slices"
	"strings"
)

const (
	maxAsked    = 8 // comments that a fact lists
	groupsDepth = 2 // of chains that only give the packet to others
)

// asked is what comments say of the chains that a packet was given to before it came to a rule of this chain. A network
// policy has a chain of its own, that lets pass what it allows; the drop behind them all is of none, and names none. Those
// of a base chain are not listed: what comes to it is given to everybody.
func (c *Chain) asked(before *Rule, p *Packet) []string {
	if before == nil || c.Hook != NoHook {
		return nil
	}
	var all []string
	for i := range c.Rules {
		r := &c.Rules[i]
		if r == before {
			break
		}
		all = c.gives(r, p, all, groupsDepth)
	}
	return all
}

// gives adds what comments say of the chain that a rule may have given the packet to: the rule's own, and those of the chain's
// first rule. A group of policies has none there: it is a chain that gives the packet to each of them.
func (c *Chain) gives(r *Rule, p *Packet, all []string, depth int) []string {
	if r.Verdict.Action != Jump || len(all) >= maxAsked || depth == 0 || slices.ContainsFunc(r.Matches, func(m Match) bool { return m.Fit(p) == No }) {
		return all
	}
	said := r.comments()
	to := c.Table.Chain(r.Verdict.Chain)
	if to == nil || len(to.Rules) == 0 {
		to = &Chain{}
	} else {
		said = append(said, to.Rules[0].comments()...)
	}
	if len(said) > 0 {
		all = append(all, strings.Join(said, "; "))
	}
	for i := range to.Rules {
		all = to.gives(&to.Rules[i], p, all, depth-1)
	}
	return all
}

// heads are the comments that are about all of a chain which is no base chain: of the rules that lead there, each once, and
// of its first rule.
func (c *Chain) heads() []string {
	if c.Hook != NoHook || len(c.Rules) == 0 {
		return nil
	}
	var all []string
	for _, other := range c.Table.Chains {
		for i := range other.Rules {
			r := &other.Rules[i]
			if r.Verdict.Chain != c.Name || r.Verdict.Action != Jump && r.Verdict.Action != Goto {
				continue
			}
			if said := strings.Join(r.comments(), "; "); said != "" && len(all) < maxAsked && !slices.Contains(all, said) {
				all = append(all, said)
			}
		}
	}
	return append(all, c.Rules[0].comments()...)
}

// comments are what its writer said of the rule.
func (r *Rule) comments() []string {
	var all []string
	for _, m := range r.Matches {
		if m.Field == Comment {
			all = append(all, m.Text)
		}
	}
	return all
}
