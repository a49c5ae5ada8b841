// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"maps"
	"testing"
	"time"

	"ktrace/decoder/event"
)

// TestSummaryNamesWhoWasRefused: the pod's name is known while it is there, and said at the end, when it is not.
func TestSummaryNamesWhoWasRefused(t *testing.T) {
	x := NewIndex()
	at := time.Unix(1000, 0)
	fact := func(after time.Duration, f event.Fact) {
		x.Observe(event.Event{Header: event.Header{Time: at.Add(after)}, Body: f})
	}
	counts := func(n uint64, held int64) event.Fact {
		return event.Fact{Counts: &event.Counts{Refused: []event.Refused{
			{Table: event.SharedOwners, Owner: 7, Count: n, Held: held},
			{Table: event.SharedSyncs, Owner: 5, Count: 1, Held: 8192},
		}}}
	}
	fact(0, event.Fact{Pod: &event.PodFact{UID: "u", Namespace: "shop", Name: "evil-0", Netns: 7}})
	fact(time.Second, counts(3, 8192))
	fact(2*time.Second, event.Fact{Pod: &event.PodFact{UID: "u", Gone: true}})
	fact(time.Hour, counts(4, 0))
	var s event.Summary
	x.Summarize(&s)
	want := map[string]uint64{
		"sockets of netns 7 (pod shop/evil-0's) whose process is not known: it had 8192 already": 4,
		"syncs of control group 5 that were not followed: 8192 were under way":                   1,
	}
	if !maps.Equal(s.Evicted, want) {
		t.Errorf("evicted %v, want %v", s.Evicted, want)
	}
}
