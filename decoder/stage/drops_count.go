// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"cmp"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// DropTotals counts drops by cause, pod and place.
type DropTotals struct {
	groups map[event.DropGroup]uint64
	total  uint64
	more   uint64
}

// maxDropGroups bounds what a run keeps.
const maxDropGroups = 4096

// NewDropTotals returns a rule that finds nothing and counts everything.
func NewDropTotals() *DropTotals { return &DropTotals{groups: map[event.DropGroup]uint64{}} }

// Observe implements Rule.
func (t *DropTotals) Observe(e event.Event) []event.Finding {
	d, ok := e.Body.(event.Drop)
	if !ok {
		return nil
	}
	g := event.DropGroup{Cause: d.Cause(), Pod: e.Pod.String(), Place: event.Place(e)}
	t.total++
	if _, known := t.groups[g]; !known && len(t.groups) >= maxDropGroups {
		t.more++
		return nil
	}
	t.groups[g]++
	return nil
}

// Flush implements Rule.
func (t *DropTotals) Flush(time.Time, bool) []event.Finding { return nil }

// Summarize implements Summarizer.
func (t *DropTotals) Summarize(s *event.Summary) {
	s.Drops = &event.DropSummary{Total: t.total, Other: t.more}
	for g, n := range t.groups {
		s.Drops.Groups = append(s.Drops.Groups, event.DropCount{DropGroup: g, Count: n})
	}
	slices.SortFunc(s.Drops.Groups, func(a, b event.DropCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Place, b.Place))
	})
}
