// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"slices"
	"time"
)

// forget removes what no retry can refer to any more: resolvers wait 5 s for one server, seldom longer.
func (s *Stage) forget(now time.Time) {
	n := slices.IndexFunc(s.done, func(q *query) bool { return now.Sub(q.first.Time) < 3*s.o.Wait })
	if n < 0 {
		n = len(s.done)
	}
	for _, q := range s.done[:n] {
		s.remove(q)
	}
	s.done = slices.Delete(s.done, 0, n)
}

// remove forgets a query, but not a later one that took its place.
func (s *Stage) remove(q *query) {
	for _, j := range q.journeys {
		delete(s.byJourney, j)
	}
	for _, k := range q.keys {
		if s.byKey[k] == q {
			delete(s.byKey, k)
		}
		if s.byFlow[k.flow] == q {
			delete(s.byFlow, k.flow)
		}
	}
	if s.lastAsked[q.question()] == q {
		delete(s.lastAsked, q.question())
	}
}

// maxQueries bounds the queries that wait for an answer, and as many that a retry or a late packet may refer to. In a flood
// the oldest are given up, and counted as not waited for.
const maxQueries = 1 << 15

// bound makes room for another query.
func (s *Stage) bound() {
	if len(s.open) < maxQueries {
		return
	}
	for _, q := range s.open[:maxQueries/8] {
		if q.closed {
			continue
		}
		q.closed = true
		s.remove(q)
		if q.standing == asked {
			s.total.pending++
		}
	}
	s.open = slices.Delete(s.open, 0, maxQueries/8)
}

// boundDone forgets the oldest of those that are over.
func (s *Stage) boundDone() {
	if len(s.done) < maxQueries {
		return
	}
	for _, q := range s.done[:maxQueries/8] {
		s.remove(q)
	}
	s.done = slices.Delete(s.done, 0, maxQueries/8)
}
