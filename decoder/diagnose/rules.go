// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// Rules are the rules of one run, with the state that they share.
type Rules struct {
	State  *State
	levels [apart + 1][]stage.Rule
	all    bool // of the table
}

// NewRules makes those of the verb that shows events of c.Kind, or, where that is empty, all of the table.
func NewRules(c Config) *Rules {
	s := &Rules{State: NewState(), all: c.Kind == ""}
	for _, row := range s.State.rows {
		if r := row.rule; r.new != nil && (s.all || slices.Contains(r.kinds, c.Kind)) {
			s.levels[r.level] = append(s.levels[r.level], s.State.Grade(r.new(s.State, c)))
		}
	}
	return s
}

// Rules returns them in the order in which they must observe events. Where all run, those about packets are in an
// Inhibitor, so that a cause and its consequence are one finding.
func (s *Rules) Rules() []stage.Rule {
	rules, levels := []stage.Rule{s.State}, s.levels[:apart]
	if s.all {
		return append(append(rules, s.levels[apart]...), NewInhibitor(s.State, levels...))
	}
	return append(append(rules, slices.Concat(levels...)...), s.levels[apart]...)
}

// Stages returns the stages of those rules that are half a stage: they go behind the one that completes drops.
func (s *Rules) Stages() []stage.Stage {
	var stages []stage.Stage
	for _, r := range slices.Concat(s.levels[:]...) {
		if x, ok := r.(*Graded).Rule.(interface{ Stage() stage.Stage }); ok {
			stages = append(stages, x.Stage())
		}
	}
	return stages
}

// conclude completes a finding with what is known of the event that it is concluded from: the two ends, what it is about,
// and that it was found once, then.
func conclude(f event.Finding, e event.Event) event.Finding {
	f = f.Of(e)
	f.Time, f.First, f.Last, f.Count = e.Time, e.Time, e.Time, 1
	return f
}
