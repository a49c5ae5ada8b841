// SPDX-License-Identifier: Apache-2.0

package ruleset

import "ktrace/decoder/event"

// SourceRule finds the rule that gives a packet on its way out its source, as far as that can be known, nil if there is
// none; and the sets that have to be loaded first for a better answer. The packet has its source of before and its
// destination of after translation.
func (rs *Ruleset) SourceRule(p Packet) (*Candidate, []*Set) {
	var wanted []*Set
	var best *Candidate
	for _, h := range []Hook{Postrouting, Input} {
		p.Hook = h
		w := rs.Walk(&p)
		wanted = append(wanted, w.Wanted...)
		for i := range w.Sources {
			if best == nil || w.Sources[i].Fit > best.Fit {
				best = &w.Sources[i]
			}
		}
	}
	return best, wanted
}

// Fact is the rule as facts have it.
func (s *Candidate) Fact() event.RuleFact {
	return ranked{Candidate: *s, counter: s.Rule.Counter}.fact().RuleFact
}

// SourcePorts are those that a rule may give to a packet with a source port: the rule's own, or those that the kernel
// picks from where it has none (nf_nat_l4proto_unique_tuple, kernels 2.6 to 6.18).
func SourcePorts(v Verdict, sport uint16) Ports {
	switch {
	case v.Ports != Ports{}:
		return v.Ports
	case sport < 512:
		return Ports{1, 511}
	case sport < 1024:
		return Ports{600, 1023}
	}
	return Ports{1024, 65535}
}
