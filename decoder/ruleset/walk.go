// SPDX-License-Identifier: Apache-2.0

package ruleset

// Candidate is a rule, or a chain's policy, that may have dropped a packet.
type Candidate struct {
	Chain *Chain
	Base  *Chain
	Rule  *Rule // nil: the chain's policy
	Fit   Fit
	// Verdict is the rule's, or that of the element of the map that the rule looked up.
	Verdict Verdict
}

// maxSteps bounds a walk, rules. A packet on a node with 50,000 rules of kube-proxy meets some 20,000 of them.
const maxSteps = 1 << 18

// maxDepth is the kernel's own bound on jumps (NFT_JUMP_STACK_SIZE).
const maxDepth = 16

// Walk is the way of one packet through the rules of a hook.
type Walk struct {
	Drops []Candidate
	// Translations are the rules that may have changed the destination, as candidates are those that may have dropped it.
	Translations []Candidate
	Sources      []Candidate // the same for the source
	Zones        []Candidate // the rules that may have put the packet into a zone of conntrack
	// Untracked are the rules that may have kept the packet from conntrack.
	Untracked []Candidate
	Wanted    []*Set // sets whose elements would have to be read to know more
	Cut       bool   // there were too many rules to look at all of them

	packet *Packet
	base   *Chain
	steps  int
	seen   map[candidateKey]int
	wanted map[*Set]bool
}

type candidateKey struct {
	chain *Chain
	rule  *Rule
}

// outcome is a set of what may become of a packet at a rule, or in a chain.
type outcome uint8

const (
	goesOn   outcome = 1 << iota // to the next rule
	comesOut                     // of the chain, back to the caller or to the policy
	isGone                       // by a verdict that ends its way
)

// Walk follows the packet at its hook through every chain that it enters there, and lists the rules that may
// have dropped it. A rule that certainly did not fit, or that cannot have been reached, is none.
func (rs *Ruleset) Walk(p *Packet) *Walk { return rs.walk(p, p.Family) }

// walk is Walk through the tables of a family, which may be another than the packet's.
func (rs *Ruleset) walk(p *Packet, of Family) *Walk {
	w := &Walk{packet: p, seen: map[candidateKey]int{}, wanted: map[*Set]bool{}}
	for _, base := range rs.At(p.Hook, of) {
		w.base = base
		o := w.chain(base, Yes, 0)
		if base.Policy.Action != Drop || o&comesOut == 0 {
			continue
		}
		fit := Yes
		if o&isGone != 0 {
			fit = Maybe
		}
		w.add(base, nil, fit, base.Policy)
	}
	return w
}

func (w *Walk) add(c *Chain, r *Rule, fit Fit, v Verdict) {
	k := candidateKey{chain: c, rule: r}
	if i, ok := w.seen[k]; ok {
		w.Drops[i].Fit = max(w.Drops[i].Fit, fit)
		return
	}
	w.seen[k] = len(w.Drops)
	w.Drops = append(w.Drops, Candidate{Chain: c, Base: w.base, Rule: r, Fit: fit, Verdict: v})
}

// chain walks one chain that the packet entered as surely as path says.
func (w *Walk) chain(c *Chain, path Fit, depth int) outcome {
	if depth > maxDepth {
		w.Cut = true
		return comesOut | isGone
	}
	var all outcome
	for i := range c.Rules {
		if w.steps++; w.steps > maxSteps {
			w.Cut = true
			return all | comesOut | isGone
		}
		r := &c.Rules[i]
		fit := w.fit(r)
		if fit == No {
			continue
		}
		if r.zone().Set {
			w.Zones = append(w.Zones, Candidate{Chain: c, Base: w.base, Rule: r, Fit: min(path, fit), Verdict: r.Verdict})
		}
		if r.untracks() {
			w.Untracked = append(w.Untracked, Candidate{Chain: c, Base: w.base, Rule: r, Fit: min(path, fit), Verdict: r.Verdict})
		}
		o := w.verdict(c, r, &r.Verdict, min(path, fit), depth)
		all |= o &^ goesOn
		if fit == Yes && o&goesOn == 0 {
			return all
		}
		if o != goesOn {
			path = Maybe
		}
	}
	return all | comesOut
}

// fit is that of all matches of a rule together.
func (w *Walk) fit(r *Rule) Fit {
	fit := Yes
	for i := range r.Matches {
		m := &r.Matches[i]
		if fit = min(fit, m.Fit(w.packet)); fit == No {
			return No
		}
		w.want(m)
	}
	return fit
}

func (w *Walk) want(m *Match) {
	if m.Set != nil {
		w.steps += len(m.Set.Elements) >> 3 // each was looked at
	}
	if m.Set != nil && !m.Set.Loaded && !w.wanted[m.Set] {
		w.wanted[m.Set] = true
		w.Wanted = append(w.Wanted, m.Set)
	}
}

// verdict applies a verdict to a packet that fits the rule.
func (w *Walk) verdict(c *Chain, r *Rule, v *Verdict, fit Fit, depth int) outcome {
	switch v.Action {
	case Drop, Reject:
		w.add(c, r, fit, *v)
		return isGone
	case Elsewhere:
		if v.NewDst {
			w.Translations = append(w.Translations, Candidate{Chain: c, Base: w.base, Rule: r, Fit: fit, Verdict: *v})
		}
		if v.NewSrc {
			w.Sources = append(w.Sources, Candidate{Chain: c, Base: w.base, Rule: r, Fit: fit, Verdict: *v})
		}
		return isGone
	case Accept:
		return isGone
	case Return:
		return comesOut
	case Obscure:
		return goesOn | isGone
	case Proxy:
		w.add(c, r, min(fit, Maybe), Verdict{Action: Drop, Target: v.Target})
		return isGone
	case Jump, Goto:
		target := c.Table.Chain(v.Chain)
		if target == nil {
			return goesOn
		}
		o := w.chain(target, fit, depth+1)
		if v.Action == Jump && o&comesOut != 0 {
			o = o&^comesOut | goesOn
		}
		return o
	case Lookup:
		return w.lookup(c, r, v.Map, fit, depth)
	}
	return goesOn
}

// lookup applies the verdicts of all elements that the packet may have found.
func (w *Walk) lookup(c *Chain, r *Rule, m *Match, fit Fit, depth int) outcome {
	w.want(m)
	var all outcome
	best := m.lookup(w.packet, func(e *Element, of Fit) {
		if e.Verdict != nil {
			all |= w.verdict(c, r, e.Verdict, min(fit, of), depth)
		}
	})
	switch {
	case !m.Set.Loaded:
		return goesOn | isGone
	case best != Yes:
		return all | goesOn
	}
	return all
}
