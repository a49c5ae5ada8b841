package decoder

import (
	"testing"
	"time"
)

func TestACauseIsToldOnceAndAgainWhenItGetsWorse(t *testing.T) {
	var f Folder
	start := time.Unix(1000, 0)
	for i, c := range []struct {
		severity Severity
		told     bool
	}{{Info, true}, {Info, false}, {Warning, true}, {Info, false}, {Warning, false}} {
		now := start.Add(time.Duration(i) * time.Second)
		if told := f.Add(Finding{ID: "x", Severity: c.severity, First: now, Last: now}); told != c.told {
			t.Errorf("finding %d: told is %v, want %v", i, told, c.told)
		}
	}
	all := f.All()
	if len(all) != 1 || all[0].Severity != Warning || all[0].Count != 5 || !all[0].First.Equal(start) || !all[0].Last.Equal(start.Add(4*time.Second)) {
		t.Errorf("got %+v", all)
	}
}
