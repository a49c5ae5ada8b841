// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// pending keeps packets with one cause together until the node has reported what it knows of them. Of more causes than there
// is room for, the oldest of the sender that has most are judged by what is known already.
type pending struct {
	held  *bounded.Table[pendingKey, *pendingDrop]
	early []*pendingDrop // of held, evicted
}

// maxPendingCauses is how many causes are held, and how many that were evicted wait to be judged.
const maxPendingCauses = 2048

func newPending() *pending {
	all := &pending{}
	all.held = bounded.NewTableEvict(maxPendingCauses, func(_ pendingKey, h *pendingDrop) {
		if len(all.early) < maxPendingCauses {
			all.early = append(all.early, h)
		}
	})
	return all
}

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
func (all *pending) add(e event.Event, what string, answered bool) {
	key := pendingKey{event.KeyOf(e), what}
	h, ok := all.held.Get(key)
	if !ok {
		h = &pendingDrop{event: e, first: e.Time}
		all.held.Put(key.about.Owner(), key, h, 1)
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
func (all *pending) expired(now time.Time, final bool, keep func(event.Event, time.Duration) bool) []*pendingDrop {
	done := slices.Clone(all.early)
	clear(all.early)
	all.early = all.early[:0]
	for key, h := range all.held.All() {
		if final || !keep(h.event, now.Sub(h.first)) {
			done = append(done, h)
			all.held.Delete(key)
		}
	}
	slices.SortFunc(done, func(a, b *pendingDrop) int { return a.first.Compare(b.first) })
	return done
}
