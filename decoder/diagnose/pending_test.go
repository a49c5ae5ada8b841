// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"
	"time"

	"ktrace/decoder/event"
)

// TestWhatWasPutOffIsWaitedFor: a busy node says which rule it was late, and that it will.
func TestWhatWasPutOffIsWaitedFor(t *testing.T) {
	syn := lostSYN()
	syn.Body = event.Drop{Reason: "IP_INNOROUTES", Location: "ip_error"}
	putOff := func(over bool) event.Event {
		return event.Event{Body: event.Fact{Deferred: &event.Deferred{About: event.KeyOf(syn), Over: over}}}
	}
	for _, c := range []struct {
		name  string
		facts []event.Event
		after time.Duration
		found int
	}{
		{"at once", nil, factsWithin / 2, 0},
		{"asked in time", nil, factsWithin, 1},
		{"put off", []event.Event{putOff(false)}, factsDeadline / 2, 0},
		{"put off and answered", []event.Event{putOff(false), putOff(true)}, factsDeadline / 2, 1},
		{"put off and never answered", []event.Event{putOff(false)}, factsDeadline, 1},
	} {
		st := NewState()
		r := NewDrops(st)
		for _, e := range append([]event.Event{syn}, c.facts...) {
			st.Observe(e)
			r.Observe(e)
		}
		if found := r.Flush(syn.Time.Add(c.after), false); len(found) != c.found {
			t.Errorf("%s: %d findings after %v, want %d", c.name, len(found), c.after, c.found)
		}
	}
}
