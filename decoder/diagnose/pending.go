package diagnose

import (
	"slices"
	"time"

	"ktrace/decoder/event"
)

// pending keeps packets that have one cause together until the node had time to say what it knows of them.
type pending map[pendingKey]*pendingDrop

// pendingKey is what packets with one cause have in common.
type pendingKey struct {
	about event.Question
	what  string
}

type pendingDrop struct {
	event    event.Event // the first, or the first that was answered by an ICMP error
	first    time.Time
	last     time.Time
	answered time.Time // when a sender was first told, zero if none was
	count    uint64
	after    uint64 // of them, so long after the answer that it must have been heard
}

// How long the node may take to say what a packet has to do with. It is asked at most every half second, and on a busy
// node, where asking is put off, later: then it says so.
const (
	factsWithin   = 700 * time.Millisecond
	factsDeadline = event.PutOffLongest
)

// answerWithin is how long an answer may take to reach its sender and be obeyed.
const answerWithin = 100 * time.Millisecond

// add takes in a packet.
func (all pending) add(e event.Event, what string, answered bool) {
	key := pendingKey{event.Ask(e), what}
	h := all[key]
	if h == nil {
		h = &pendingDrop{event: e, first: e.Time}
		all[key] = h
	}
	switch {
	case h.answered.IsZero() && answered:
		h.event, h.answered = e, e.Time // what is told of one of them is true of all
	case !h.answered.IsZero() && e.Time.Sub(h.answered) > answerWithin:
		h.after++
	}
	h.count++
	h.last = e.Time
}

// expired takes out what has waited long enough, in the order of time.
func (all pending) expired(now time.Time, final bool, keep func(event.Event, time.Duration) bool) []*pendingDrop {
	var done []*pendingDrop
	for key, h := range all {
		if final || !keep(h.event, now.Sub(h.first)) {
			done = append(done, h)
			delete(all, key)
		}
	}
	slices.SortFunc(done, func(a, b *pendingDrop) int { return a.first.Compare(b.first) })
	return done
}
