package netfilter

import (
	"slices"
	"strings"
)

// maxAsked is how many a fact lists.
const maxAsked = 8

// asked is what comments say of the chains that a packet was given to before it came to a rule of this chain. A network
// policy has a chain of its own, that lets pass what it allows; the drop behind them all is of none, and names none. Those
// of a base chain are not listed: what comes to it is given to everybody.
func (c *Chain) asked(before *Rule, p *Packet) []string {
	var all []string
	if before == nil || c.Hook != NoHook {
		return nil
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		if r == before || len(all) >= maxAsked {
			break
		}
		if r.Verdict.Action != Jump || slices.ContainsFunc(r.Matches, func(m Match) bool { return m.Fit(p) == No }) {
			continue
		}
		said := r.comments()
		if to := c.Table.Chain(r.Verdict.Chain); to != nil && len(to.Rules) > 0 {
			said = append(said, to.Rules[0].comments()...)
		}
		if len(said) > 0 {
			all = append(all, strings.Join(said, "; "))
		}
	}
	return all
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
