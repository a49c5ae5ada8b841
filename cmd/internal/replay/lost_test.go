// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
)

func TestLossIsSaidAtOnceAndNotTooOften(t *testing.T) {
	var said []string
	n := LossNotice{Say: func(s string) { said = append(said, s) }}
	for _, ms := range []int{0, 1, 500, 9_999, 10_000, 10_001, 30_000} {
		n.Enrich(event.Event{Body: event.Fact{}})
		n.Enrich(event.Event{Header: event.Header{Time: time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond)}, Body: event.Fact{Lost: &event.LostRecords{Count: 2}}})
	}
	if len(said) != 3 {
		t.Fatalf("said %q", said)
	}
	for i, count := range []int{2, 8, 4} {
		if !strings.HasPrefix(said[i], fmt.Sprintf("warning: %d records were lost: ", count)) {
			t.Errorf("said %q, want %d", said[i], count)
		}
	}
}
