// SPDX-License-Identifier: Apache-2.0

package event

import "testing"

// TestFewLostSegmentsAreNoShare: one that is sent again of one says nothing of the way, and is no 100 %.
func TestFewLostSegmentsAreNoShare(t *testing.T) {
	for _, c := range []struct {
		loss FlowLoss
		want string
	}{
		{FlowLoss{Segments: 9}, "-"},
		{FlowLoss{Segments: 1, Lost: 1}, "1"},
		{FlowLoss{Segments: 40, Lost: 4}, "10.0%"},
	} {
		if got := (FlowRow{Loss: c.loss}).lost(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.loss, got, c.want)
		}
	}
}
