// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

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

func (d Drop) Cause() string {
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
