// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"time"

	"ktrace/decoder/event"
)

// candidate is a finding that may be reported before the end.
type candidate struct {
	level int
	key   event.CauseKey
	first time.Time
	due   time.Time // zero until the next flush: only then is it known how long the finding took
}

const (
	// causesKnown is how long it takes until the causes of what was seen are known.
	causesKnown = factsDeadline + time.Second
	// concludedTogether is the longest time between a cause and its consequence where both are concluded from a timeout.
	concludedTogether = time.Second
	// maxEarly bounds the findings that are reported early: the rest is easier to read in order of severity at the end.
	maxEarly = 20
	// maxWaiting bounds the candidates.
	maxWaiting = 1 << 10
)

// wait adds a candidate. A cause is due at once, for nothing inhibits it; a finding of a later level is due when its
// cause would be known.
func (x *Inhibitor) wait(level int, f event.Finding) {
	if f.Confidence != event.Certain || !f.Severity.AtLeast(event.Warning) || f.About.Tunnel || len(x.waiting) >= maxWaiting {
		return
	}
	x.waiting = append(x.waiting, candidate{level: level, key: f.Key(), first: f.First})
}

// setDue sets when the candidates that are new since the last flush are due.
func (x *Inhibitor) setDue(now time.Time) {
	for i := range x.waiting {
		c := &x.waiting[i]
		if c.level > 0 && c.due.IsZero() {
			c.due = slices.MaxFunc([]time.Time{c.first.Add(causesKnown), now.Add(concludedTogether)}, time.Time.Compare)
		}
	}
}

// early returns the findings that are certain and that nothing inhibits.
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

// causesBefore are the findings so far that may inhibit those of a level.
func (x *Inhibitor) causesBefore(level int) causes {
	before := causes{}
	for i := range level {
		for _, f := range x.found[i].All() {
			before.add(f)
		}
	}
	return before
}
