// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"slices"
	"time"

	"ktrace/decoder/event"
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
	s.held.Remove(q.held)
	s.past.Remove(q.held)
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

// Bounds of what is kept of queries, bytes. In a flood those of the client with the most are not waited for, the newest first,
// so that those that are have their time; and the oldest that a retry may refer to are forgotten.
const (
	maxOpen = 8 << 20 // of queries that wait for an answer
	maxDone = 3 << 20 // of those that a retry or a late packet may refer to
)

// hold takes in a query that begins to wait. It returns false if there is no room for it.
func (s *Stage) hold(q *query) bool {
	s.held.Evict = s.giveUp
	q.held = s.held.Add(event.OwnerAt(q.first), q, q.size())
	if !q.held.Held() {
		s.refused.Put(q.first.Journey, true)
		return false
	}
	s.open = compacted(append(s.open, q), s.held.Len())
	return true
}

// giveUp ends the wait for an answer, for want of room.
func (s *Stage) giveUp(q *query) {
	q.closed = true
	for _, j := range q.journeys {
		s.refused.Put(j, true)
	}
	s.remove(q)
	if q.standing == asked {
		s.total.pending++
	}
}

// keepDone keeps a query that is over for what may refer to it.
func (s *Stage) keepDone(q *query) {
	s.held.Remove(q.held)
	s.past.Evict = s.remove
	if q.held = s.past.Add(event.OwnerAt(q.first), q, q.size()); q.held.Held() {
		s.done = compacted(append(s.done, q), s.past.Len())
	}
}

// compacted is a list without those that are no longer held, once they are the most of it.
func compacted(list []*query, held int) []*query {
	const few = 1 << 10
	if len(list) < 2*held+few {
		return list
	}
	return slices.DeleteFunc(list, func(q *query) bool { return !q.held.Held() })
}
