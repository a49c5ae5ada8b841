// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// FlowTable is the view of connections: what was reported last of each of those that the user selected. It concludes nothing; the
// table is in the summary.
type FlowTable struct {
	rows           int // that the summary has at most
	troubled, well *bounded.Table[flowAt, event.FlowRow]
}

const maxFlowRows = 4096

// NewFlowTable returns the view, of which the summary has so many rows at most.
func NewFlowTable(rows int) *FlowTable {
	return &FlowTable{rows, bounded.NewTable[flowAt, event.FlowRow](maxFlowRows), bounded.NewTable[flowAt, event.FlowRow](maxFlowRows)}
}

// Observe implements Rule.
func (t *FlowTable) Observe(e event.Event) []event.Finding {
	f, ok := e.Body.(event.Flow)
	if !ok {
		return nil
	}
	key, row := flowAt{e.Netns, e.Packet.Flow()}, event.RowOf(e, f)
	to, from := t.well, t.troubled
	if row.Verdict != event.FlowOK {
		to, from = t.troubled, t.well
	}
	from.Delete(key)
	to.Put(event.OwnerOf(e), key, row, 1)
	return nil
}

// Flush implements Rule.
func (t *FlowTable) Flush(time.Time, bool) []event.Finding { return nil }

// Summarize implements event.Summarizer.
func (t *FlowTable) Summarize(s *event.Summary) {
	if s.Flows == nil {
		s.Flows = &event.FlowSummary{}
	}
	rows := make([]event.FlowRow, 0, t.troubled.Len()+t.well.Len())
	for _, of := range []*bounded.Table[flowAt, event.FlowRow]{t.troubled, t.well} {
		for _, row := range of.All() {
			rows = append(rows, row)
		}
		s.AddEvicted("rows of connections", of.Evicted())
	}
	slices.SortFunc(rows, event.CompareFlows)
	s.Flows.Table = rows[:min(t.rows, len(rows))]
	s.Flows.More = len(rows) - len(s.Flows.Table)
}
