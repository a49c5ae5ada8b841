// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
)

// finds is a rule that has one finding.
type finds struct{ event.Finding }

func (r finds) Observe(event.Event) []event.Finding   { return []event.Finding{r.Finding} }
func (r finds) Flush(time.Time, bool) []event.Finding { return []event.Finding{r.Finding} }
func lostBetween(from, to time.Time, k event.Kind) event.Event {
	lost := event.LostRecords{Kind: k, Count: 5, From: time.Duration(from.UnixNano()), To: time.Duration(to.UnixNano())}
	return event.Event{Header: event.Header{Time: to}, Body: event.Fact{Lost: &lost}}
}

// TestWhatIsConcludedFromNothingIsPossibleUnderLoss looks at each finding of the table, and at one that it does not know, as a new one
// that says nothing of what it rests on.
func TestWhatIsConcludedFromNothingIsPossibleUnderLoss(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	rows := append(Rows(), Row{ID: "a-new-one"})
	for _, tt := range []struct {
		name  string
		lost  event.Event
		doubt bool
	}{
		{"nothing was lost", event.Event{Body: event.Fact{}}, false},
		{"before it", lostBetween(at(90), at(99), event.KindHop), false},
		{"in it", lostBetween(at(101), at(102), event.KindHop), true},
		{"from before it on", lostBetween(at(90), at(100), event.KindSock), true},
		{"until behind it", lostBetween(at(109), at(120), ""), true},
		{"behind it", lostBetween(at(111), at(112), event.KindHop), false},
		{"of no packet", lostBetween(at(101), at(102), event.KindFsync), false},
	} {
		for _, row := range rows {
			st := NewState()
			st.Observe(tt.lost)
			f := event.Finding{ID: row.ID, Severity: event.Critical, Confidence: event.Certain, First: at(100), Early: true}
			r := st.Grade(finds{f})
			for _, found := range [][]event.Finding{r.Flush(at(110), false), r.Observe(event.Event{Header: event.Header{Time: at(110)}, Body: event.Fact{}})} {
				doubt := tt.doubt && !row.recorded
				got := found[0]
				if got.Doubtful != doubt || (got.Confidence == event.Possible) != doubt || doubt && got.Severity != event.Info || got.Early == doubt {
					t.Errorf("%s, %s: doubtful %v, %s, %s", row.ID, tt.name, got.Doubtful, got.Confidence, got.Severity)
				}
				if named := strings.Contains(strings.Join(got.Evidence, "\n"), "5 records were lost between 00:01:"); named != doubt {
					t.Errorf("%s, %s: evidence %q", row.ID, tt.name, got.Evidence)
				}
			}
			f.Recorded = true
			if got := st.Grade(finds{f}).Flush(at(110), false)[0]; got.Doubtful {
				t.Errorf("%s, %s: what is recorded is doubted", row.ID, tt.name)
			}
		}
	}
}
