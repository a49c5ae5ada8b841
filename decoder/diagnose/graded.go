// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// Graded is a rule of the table. It gives what the rule finds the severity that the finding's row allows: a rule only proposes one,
// from the facts, or leaves it to the row. A finding that rests on what no record shows is held against what was lost: if records
// were, it is no more than possible.
type Graded struct {
	stage.Rule
	state *State
}

// Grade returns the rule with severities of the table.
func (st *State) Grade(r stage.Rule) *Graded { return &Graded{r, st} }

// Observe implements stage.Rule.
func (g *Graded) Observe(e event.Event) []event.Finding {
	return g.state.graded(g.Rule.Observe(e), e.Time)
}

// Flush implements stage.Rule.
func (g *Graded) Flush(now time.Time, final bool) []event.Finding {
	return g.state.graded(g.Rule.Flush(now, final), now)
}

// Summarize implements event.Summarizer for rules that do.
func (g *Graded) Summarize(s *event.Summary) {
	if x, ok := g.Rule.(event.Summarizer); ok {
		x.Summarize(s)
	}
}

func (st *State) graded(found []event.Finding, now time.Time) []event.Finding {
	for i := range found {
		f := &found[i]
		row, ok := rowIn(st.rows, f.ID)
		if ok {
			f.Severity = row.severity(f.Severity)
		}
		if gap, lossy := st.gaps.Within(f.First, now); lossy && !f.Recorded && !row.recorded {
			doubt(f, gap)
		}
	}
	return found
}

// doubt makes a finding possible, and information.
func doubt(f *event.Finding, lost event.Gap) {
	f.Doubtful, f.Early, f.Confidence, f.Severity = true, false, event.Possible, event.Info
	f.Evidence = append([]string{lost.String() + ": what would show another cause, or that nothing is wrong, may be among them"}, f.Evidence...)
}

// severity is what the row of a finding makes of the severity that is proposed.
func (st *State) severity(id string, proposed event.Severity) event.Severity {
	row, ok := rowIn(st.rows, id)
	if !ok {
		return proposed
	}
	return row.severity(proposed)
}
