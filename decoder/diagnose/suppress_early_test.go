// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

func TestWhatNeedNotWaitForTheEnd(t *testing.T) {
	const pod, server = "10.244.0.9", "10.9.0.2:80"
	sure := func(f event.Finding) event.Finding {
		f.Confidence = event.Certain
		return f
	}
	tunnelled, info := sure(met("cause", "tcp", pod, 1, server)), sure(met("cause", "tcp", pod, 1, server))
	tunnelled.About.Tunnel, info.Severity = true, event.Info
	for _, c := range []struct {
		name   string
		levels []stage.Rule
		after  time.Duration
		want   []string
	}{
		{"a cause", []stage.Rule{says{sure(met("cause", "tcp", pod, 1, server))}}, 0, []string{"cause"}},
		{"a likely one", []stage.Rule{says{met("cause", "tcp", pod, 1, server)}}, time.Minute, []string{}},
		{"information", []stage.Rule{says{info}}, time.Minute, []string{}},
		{"a neighbour beyond a tunnel, which may not pass", []stage.Rule{says{tunnelled}}, time.Minute, []string{}},
		{"what may have a cause", []stage.Rule{says{}, says{sure(met("symptom", "tcp", pod, 1, server))}}, time.Second, []string{}},
		{"what would have it by now", []stage.Rule{says{}, says{sure(met("symptom", "tcp", pod, 1, server))}}, causesKnown, []string{"symptom"}},
		{"what has one", []stage.Rule{says{met("cause", "tcp", pod, 1, server)}, says{sure(met("symptom", "tcp", pod, 1, server))}}, time.Minute, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &Inhibitor{reported: map[event.CauseKey]bool{}, found: make([]event.Folder, len(c.levels))}
			for _, r := range c.levels {
				x.levels = append(x.levels, []stage.Rule{r})
			}
			x.Observe(event.Event{})
			x.Observe(event.Event{})
			seen := time.Unix(1001, 0)
			now := seen.Add(c.after)
			if got := append(ids(x.Flush(seen, false)), ids(x.Flush(now, false))...); !slices.Equal(got, c.want) {
				t.Errorf("early are %v, want %v", got, c.want)
			}
			if again := x.Flush(now, false); len(again) > 0 {
				t.Errorf("again %v", ids(again))
			}
		})
	}
}

// TestWhatIsConcludedLateWaitsForACauseThatIsToo: that no answer came is known when time is up, of all queries at once.
func TestWhatIsConcludedLateWaitsForACauseThatIsToo(t *testing.T) {
	cause, symptom := met("cause", "udp", "10.244.0.9", 1, "10.9.0.2:53"), met("symptom", "udp", "10.244.0.9", 1, "10.9.0.2:53")
	symptom.Confidence = event.Certain
	x := NewInhibitor(NewState(), []stage.Rule{&later{cause, time.Unix(1011, 0)}}, []stage.Rule{&later{symptom, time.Unix(1010, 0)}})
	for at := int64(1009); at < 1015; at++ {
		if got := ids(x.Flush(time.Unix(at, 0), false)); len(got) > 0 {
			t.Errorf("at %d early are %v", at, got)
		}
	}
	if got := ids(x.Flush(time.Unix(1016, 0), true)); !slices.Equal(got, []string{"cause"}) {
		t.Errorf("in the end %v", got)
	}
}

// TestWhatIsKnownAfterAPauseWaitsForItsCause: a capture, or a quiet node, has nothing between a query and the end of its time.
func TestWhatIsKnownAfterAPauseWaitsForItsCause(t *testing.T) {
	cause, symptom := met("cause", "udp", "10.244.0.9", 1, "10.9.0.2:53"), met("symptom", "udp", "10.244.0.9", 1, "10.9.0.2:53")
	symptom.Confidence = event.Certain
	x := NewInhibitor(NewState(), []stage.Rule{&later{cause, time.Unix(1010, 5e8)}}, []stage.Rule{says{symptom}})
	x.Flush(time.Unix(1001, 0), false)
	x.Observe(event.Event{}) // made by the look that follows
	for _, at := range []time.Time{time.Unix(1010, 0), time.Unix(1010, 5e8), time.Unix(1012, 0)} {
		if got := ids(x.Flush(at, false)); len(got) > 0 {
			t.Errorf("at %v early are %v", at, got)
		}
	}
}

// TestWhatWasReportedEarlyStays: a cause that comes later takes nothing back.
func TestWhatWasReportedEarlyStays(t *testing.T) {
	symptom := met("symptom", "tcp", "10.244.0.9", 1, "10.9.0.2:80")
	symptom.Confidence = event.Certain
	late := &later{met("cause", "tcp", "10.244.0.9", 2, "10.9.0.2:80"), time.Unix(1020, 0)}
	x := NewInhibitor(NewState(), []stage.Rule{late}, []stage.Rule{says{symptom}})
	x.Observe(event.Event{})
	x.Flush(time.Unix(1001, 0), false)
	if got := ids(x.Flush(time.Unix(1010, 0), false)); !slices.Equal(got, []string{"symptom"}) {
		t.Fatalf("early are %v", got)
	}
	if got := ids(x.Flush(time.Unix(1030, 0), true)); !slices.Equal(got, []string{"cause", "symptom"}) {
		t.Errorf("in the end %v", got)
	}
}

// later is a rule that finds something at a time.
type later struct {
	event.Finding
	at time.Time
}

func (*later) Observe(event.Event) []event.Finding { return nil }

func (l *later) Flush(now time.Time, _ bool) []event.Finding {
	if now.Before(l.at) {
		return nil
	}
	return []event.Finding{l.Finding}
}

func TestEarlyFindingsAreBounded(t *testing.T) {
	var many says
	for i := range 10 * maxEarly {
		f := met("cause", "tcp", "10.244.0.9", i, "10.9.0.2:80")
		f.Subject, f.Confidence = time.Duration(i).String(), event.Certain
		many = append(many, f)
	}
	x := NewInhibitor(NewState(), []stage.Rule{many})
	n := 0
	for range 10 {
		x.Observe(event.Event{})
		n += len(x.Flush(time.Unix(1000, 0), false))
	}
	if n > maxEarly {
		t.Errorf("%d are early, want at most %d", n, maxEarly)
	}
}
