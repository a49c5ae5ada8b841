package diagnose

import (
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// Graded is a rule of the table. It gives what the rule finds the severity that the finding's row allows: a rule only proposes one,
// from the facts, or leaves it to the row.
type Graded struct {
	stage.Rule
	state *State
}

// Grade returns the rule with severities of the table.
func (st *State) Grade(r stage.Rule) *Graded { return &Graded{r, st} }

// Observe implements stage.Rule.
func (g *Graded) Observe(e event.Event) []event.Finding { return g.state.graded(g.Rule.Observe(e)) }

// Flush implements stage.Rule.
func (g *Graded) Flush(now time.Time, final bool) []event.Finding {
	return g.state.graded(g.Rule.Flush(now, final))
}

// Summarize implements event.Summarizer for rules that do.
func (g *Graded) Summarize(s *event.Summary) {
	if x, ok := g.Rule.(event.Summarizer); ok {
		x.Summarize(s)
	}
}

func (st *State) graded(found []event.Finding) []event.Finding {
	for i := range found {
		found[i].Severity = st.severity(found[i].ID, found[i].Severity)
	}
	return found
}

// severity is what the row of a finding makes of the severity that is proposed.
func (st *State) severity(id string, proposed event.Severity) event.Severity {
	row, ok := rowIn(st.rows, id)
	if !ok {
		return proposed
	}
	return row.severity(proposed)
}
