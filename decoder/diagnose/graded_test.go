// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"
	"time"

	"ktrace/decoder/event"
)

// TestTheRowDecidesTheSeverity has a rule propose each severity, and none, for a finding with a range and for one without.
func TestTheRowDecidesTheSeverity(t *testing.T) {
	st := NewState()
	for _, c := range []struct {
		id             string
		proposed, want event.Severity
	}{
		{"icmp-unreachable", "", event.Warning},
		{"icmp-unreachable", event.Critical, event.Warning},
		{"icmp-unreachable", event.Info, event.Info},
		{"fsync-cpu-starved", event.Info, event.Warning},
		{"fsync-error", event.Info, event.Critical},
		{"martian-source", event.Critical, event.Critical},
	} {
		found := st.Grade(says{{ID: c.id, Severity: c.proposed}}).Observe(event.Event{})
		if len(found) != 1 || found[0].Severity != c.want {
			t.Errorf("%s %q: %+v, want %s", c.id, c.proposed, found, c.want)
		}
	}
}

// BenchmarkGraded grades a finding: once per packet of a flood.
func BenchmarkGraded(b *testing.B) {
	st, found := NewState(), []event.Finding{{ID: "fsync-error"}}
	b.ReportAllocs()
	for b.Loop() {
		found[0].Severity = ""
		st.graded(found, time.Time{})
	}
}
