package diagnose

import (
	"slices"
	"time"

	"ktrace/decoder/event"
)

// candidate is what may be reported before the end.
type candidate struct {
	level int
	key   event.CauseKey
	first time.Time
	due   time.Time // zero until the look that follows what it was found by: only then it is known how late it is
}

const (
	// causesKnown is how long it takes until the causes are known that may account for what was seen.
	causesKnown = factsDeadline + time.Second
	// concludedTogether is how far apart a cause and its consequence may be concluded where both are late, as what is
	// known by that no answer came.
	concludedTogether = time.Second
	// maxEarly is how many findings are reported early: more are no help before they are put in order.
	maxEarly = 20
	// maxWaiting is how many are looked at for that.
	maxWaiting = 1 << 10
)

// wait has a finding be looked at again, if it may be reported early: a cause at once, for nothing accounts for it, and
// what may be a consequence once its cause would be known.
func (x *Inhibitor) wait(level int, f event.Finding) {
	if f.Confidence != event.Certain || !f.Severity.AtLeast(event.Warning) || f.About.Tunnel || len(x.waiting) >= maxWaiting {
		return
	}
	x.waiting = append(x.waiting, candidate{level: level, key: f.Key(), first: f.First})
}

// setDue says of those that are new since the last look until when they wait.
func (x *Inhibitor) setDue(now time.Time) {
	for i := range x.waiting {
		c := &x.waiting[i]
		if c.level > 0 && c.due.IsZero() {
			c.due = slices.MaxFunc([]time.Time{c.first.Add(causesKnown), now.Add(concludedTogether)}, time.Time.Compare)
		}
	}
}

// early returns what is certain by now.
func (x *Inhibitor) early(now time.Time) []event.Finding {
	var found []event.Finding
	before := map[int]causes{} // by level
	var ends *inhibitors
	x.setDue(now)
	x.waiting = slices.DeleteFunc(x.waiting, func(c candidate) bool {
		if now.Before(c.due) {
			return false
		}
		f, ok := x.found[c.level].Find(c.key)
		if !ok || x.reported[c.key] || len(x.reported) >= maxEarly {
			return true
		}
		if before[c.level] == nil {
			before[c.level] = x.causesBefore(c.level)
		}
		if ends == nil {
			now := inhibitorsOf(x.all())
			ends = &now
		}
		if !before[c.level].explains(f) && !ends.inhibits(f) {
			x.reported[c.key], f.Early = true, true
			found = append(found, f)
		}
		return true
	})
	return found
}

// all are the findings so far.
func (x *Inhibitor) all() (found []event.Finding) {
	for i := range x.found {
		found = append(found, x.found[i].All()...)
	}
	return found
}

// causesBefore are those that are found by now and may account for what a level has.
func (x *Inhibitor) causesBefore(level int) causes {
	before := causes{}
	for i := range level {
		for _, f := range x.found[i].All() {
			before.add(f)
		}
	}
	return before
}
