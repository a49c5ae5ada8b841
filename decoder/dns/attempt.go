package dns

import (
	"time"

	"ktrace/decoder"
)

// A resolver that gets no answer asks again, as a rule by the same socket and with the same id (glibc, musl, dig), or anew
// (Go), and waits the longer the oftener it asked.
const retriesWithin = 2 // times as long as an answer may take

// ask takes in a query that comes by a new journey: it is new, a retry, or one sent before whose journey was lost.
func (s *Stage) ask(e decoder.Event, before *query, msg message, is standing) (step, []decoder.Event) {
	if before != nil && !before.closed && !before.begins(e) {
		return s.join(before, e.Journey, asQuery), nil
	}
	q := &query{first: e, msg: msg, standing: is, attempts: 1, captured: captured(e), later: &s.fragments.later, due: e.Time.Add(s.o.Wait)}
	if q.captured {
		s.clients.Put(e.Packet.Src, true)
		q.due = q.due.Add(retryGrace)
	}
	if before == nil {
		before = s.lastAsked[q.question()]
		if before != nil && e.Time.Sub(before.first.Time) < sameMoment {
			before = nil
		}
	}
	var finished []decoder.Event
	again := before != nil && !before.closed && before.first.Packet.Flow() == e.Packet.Flow()
	if again {
		before.repeated = true
	}
	if before != nil && before.unanswered() && e.Time.Sub(before.first.Time) <= s.retryWithin() {
		q.attempts = before.attempts + 1
		if again {
			finished = s.finish(before)
		}
	}
	s.lastAsked[q.question()] = q
	s.open = append(s.open, q)
	return s.join(q, e.Journey, asQuery), finished
}

// retryWithin is how long after an attempt the next one may come.
func (s *Stage) retryWithin() time.Duration { return retriesWithin*s.o.Wait + retryGrace }

// unanswered reports whether the client may ask again because of what became of the query.
func (q *query) unanswered() bool {
	o := q.outcome()
	return o != decoder.DNSAnswered && o != decoder.DNSTruncated
}
