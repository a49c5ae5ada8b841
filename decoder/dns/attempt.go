// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"time"

	"ktrace/decoder/event"
)

// A resolver that gets no answer sends the same query again, id and all (glibc, musl, dig): by the same socket, or by
// another one of the same process. A query with another id is another one: the program asks anew, or, as Go's resolver
// does, the resolver; which is not known.
const retriesWithin = 2 // times as long as an answer may take

// ask takes in a query that comes by a new journey: it is new, a retry, or one sent before whose journey was lost.
func (s *Stage) ask(e event.Event, before *query, msg message, is standing) (step, []event.Event) {
	if before != nil && !before.closed && !before.begins(e) {
		return s.join(before, e.Journey, asQuery), nil
	}
	if _, refused := s.refused.Get(e.Journey); refused && e.Journey != 0 {
		return step{}, nil // it is on its way, and began elsewhere
	}
	q := &query{first: e, msg: msg, standing: is, attempts: 1, captured: captured(e), later: &s.fragments.later, due: e.Time.Add(s.o.Wait)}
	if q.captured {
		s.clients.Put(e.Packet.Src, true)
	}
	if q.captured || e.Direction == event.In {
		q.due = q.due.Add(retryGrace)
	}
	if before == nil {
		before = s.lastAsked[q.question()]
	}
	var finished []event.Event
	if before != nil && q.repeats(before) {
		finished = s.retry(before, q)
	}
	if !s.hold(q) {
		return step{}, finished
	}
	s.lastAsked[q.question()] = q
	return s.join(q, e.Journey, asQuery), finished
}

// repeats reports whether the query is an earlier one sent again, and not asked anew.
func (q *query) repeats(before *query) bool {
	if q.msg.id != before.msg.id {
		return false
	}
	if q.sameSocket(before) {
		return true
	}
	sender, earlier := q.first.PID, before.first.PID
	return q.first.Time.Sub(before.first.Time) >= sameMoment && (sender == 0 || earlier == 0 || sender == earlier)
}

func (q *query) sameSocket(before *query) bool {
	return q.first.Packet.Flow() == before.first.Packet.Flow()
}

// retry counts the attempts. By the same socket it is not known any more which of them an answer is for.
func (s *Stage) retry(before, q *query) (finished []event.Event) {
	waits := !before.closed && q.sameSocket(before)
	if waits {
		before.repeated = true
	}
	if !before.unanswered() || q.first.Time.Sub(before.first.Time) > s.retryWithin() {
		return nil
	}
	q.attempts = before.attempts + 1
	if waits {
		return s.finish(before)
	}
	return nil
}

// retryWithin is how long after an attempt the next one may come.
func (s *Stage) retryWithin() time.Duration { return retriesWithin*s.o.Wait + retryGrace }

// unanswered reports whether the client may ask again because of what became of the query.
func (q *query) unanswered() bool {
	o := q.became
	if !q.closed {
		o = q.outcome()
	}
	return o != event.DNSAnswered && o != event.DNSTruncated
}
