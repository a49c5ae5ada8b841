// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// FlowBooks are how many established connections the kernel half followed. Begun and Found together are Ended, Open and Evicted.
type FlowBooks struct {
	Begun   uint64 `json:"begun"`
	Found   uint64 `json:"found"`   // they were established before ktrace
	Ended   uint64 `json:"ended"`   // of those that it followed
	Open    uint64 `json:"open"`    // as counted at the end; until then what is left of the others
	Evicted uint64 `json:"evicted"` // there was no room to follow them, or their end was missed
	Unseen  uint64 `json:"unseen"`  // ended and were not followed: begun before ktrace and not found, or evicted
}

// Balanced reports whether the books add up.
func (b FlowBooks) Balanced() bool { return b.Begun+b.Found == b.Ended+b.Open+b.Evicted }

// Lines implements Report.
func (b *FlowBooks) Lines() []string {
	line := fmt.Sprintf("connections: %d begun + %d found open = %d ended + %d open + %d evicted", b.Begun, b.Found, b.Ended, b.Open, b.Evicted)
	if b.Unseen > 0 {
		line += fmt.Sprintf("; %d ended that were not seen from the start", b.Unseen)
	}
	if !b.Balanced() {
		line += " (error: this does not add up)"
	}
	return []string{line}
}
