// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"time"

	"ktrace/decoder/event"
)

// pending keeps packets with one cause together until the node has reported what it knows of them.
type pending map[pendingKey]*pendingDrop

// pendingKey is what packets with one cause have in common.
type pendingKey struct {
	about event.LookupKey
	what  string
}

type pendingDrop struct {
	event    event.Event // the first, or the first that was answered by an ICMP error
	first    time.Time
	last     time.Time
	answered time.Time // when an ICMP error was first sent, zero if none was
	count    uint64
	after    uint64 // of them, sent when the ICMP error must have been received
}

// How long the facts about a packet may take to arrive. The node is read at most twice a second. On a busy node a read is
// deferred, and a fact says so.
const (
	factsWithin   = 700 * time.Millisecond
	factsDeadline = event.DeferredLongest
)

// answerWithin is how long an ICMP error may take until its sender has received it and acts on it.
const answerWithin = 100 * time.Millisecond

// add takes in a packet.
func (all pending) add(e event.Event, what string, answered bool) {
	key := pendingKey{event.KeyOf(e), what}
	h := all[key]
	if h == nil {
		h = &pendingDrop{event: e, first: e.Time}
		all[key] = h
	}
	switch {
	case h.answered.IsZero() && answered:
		h.event, h.answered = e, e.Time // the error for one of them is the error for all
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
