package decoder

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// DropTotals counts drops by cause, pod and place.
type DropTotals struct {
	groups map[DropGroup]uint64
	total  uint64
	more   uint64
}

// DropGroup is what drops have in common.
type DropGroup struct {
	Cause string `json:"cause"` // reason and function, or the rule
	Pod   string `json:"pod,omitempty"`
	Place string `json:"place"`
}

// DropCount is how many packets of a group were dropped.
type DropCount struct {
	DropGroup
	Count uint64 `json:"count"`
}

// DropSummary is what was dropped, the most frequent first.
type DropSummary struct {
	Total  uint64      `json:"total"`
	Groups []DropCount `json:"groups"`
	Other  uint64      `json:"other,omitempty"` // of groups for which there was no room
}

// maxDropGroups bounds what a run keeps.
const maxDropGroups = 4096

// NewDropTotals returns a rule that finds nothing and counts everything.
func NewDropTotals() *DropTotals { return &DropTotals{groups: map[DropGroup]uint64{}} }

// Observe implements Rule.
func (t *DropTotals) Observe(e Event) []Finding {
	d, ok := e.Body.(Drop)
	if !ok {
		return nil
	}
	g := DropGroup{Cause: d.cause(), Pod: e.Pod.String(), Place: Place(e)}
	t.total++
	if _, known := t.groups[g]; !known && len(t.groups) >= maxDropGroups {
		t.more++
		return nil
	}
	t.groups[g]++
	return nil
}

// Flush implements Rule.
func (t *DropTotals) Flush(time.Time, bool) []Finding { return nil }

// Summarize implements Summarizer.
func (t *DropTotals) Summarize(s *Summary) {
	s.Drops = &DropSummary{Total: t.total, Other: t.more}
	for g, n := range t.groups {
		s.Drops.Groups = append(s.Drops.Groups, DropCount{g, n})
	}
	slices.SortFunc(s.Drops.Groups, func(a, b DropCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Place, b.Place))
	})
}

func (d Drop) cause() string {
	cause := fmt.Sprintf("%s in %s", d.Reason, d.Location)
	if d.Netfilter != nil {
		cause = fmt.Sprintf("%s by %s", d.Verdict, d.Netfilter)
	}
	if d.Noise != "" {
		cause += ", no loss: " + d.Noise
	}
	return cause
}

// Lines implements Report.
func (s *DropSummary) Lines() []string {
	lines := []string{fmt.Sprintf("%d packets dropped", s.Total)}
	for _, g := range s.Groups {
		lines = append(lines, fmt.Sprintf("%8d  %-40s %-24s %s", g.Count, g.Cause, g.Pod, g.Place))
	}
	if s.Other > 0 {
		lines = append(lines, fmt.Sprintf("%8d  others", s.Other))
	}
	return lines
}
