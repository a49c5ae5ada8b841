// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// dropCounts counts what the kernel drops, by reason and place, beside what passes: whether it hurts is a matter of how much.
type dropCounts struct {
	tallies bounded.Map[dropKey, *dropTally]
	passed  map[dropPlace]uint64 // data and datagrams that were seen at a device
}

type dropPlace struct{ netns, ifindex uint32 }

type dropKey struct {
	dropPlace
	reason, location string
}

// dropTally is how often one reason struck at one place.
type dropTally struct {
	count       uint64
	first, last time.Time
	seconds     uint64                    // of the run, in which there were drops
	second      int64                     // the latest of them
	recent      [dropWindow]dropsInSecond // by the second, the latest of each remainder
	opening     map[natFlow]time.Time     // when a packet that opens a connection was first dropped
	refused     bool                      // a connection's opening packet was dropped, and dropped again
}

type dropsInSecond struct {
	second int64
	count  uint64
}

const (
	dropWindow  = 10 // seconds
	maxOpenings = 256
	maxPlaces   = 4096
	// secondTry is from when on the same packet is a second try: TCP waits a second for the first.
	secondTry = 500 * time.Millisecond
)

// learn counts an event.
func (l *dropCounts) learn(e event.Event) {
	switch b := e.Body.(type) {
	case event.Hop:
		if p := e.Packet; p != nil && (p.Proto == "udp" || p.Proto == "tcp" && !p.HasFlag('R')) {
			l.pass(dropPlace{e.Netns, e.Ifindex})
		}
	case event.Drop:
		if e.Packet == nil || b.Noise != "" {
			return
		}
		key := dropKey{dropPlace{e.Netns, e.Ifindex}, b.Reason, b.Location}
		t, ok := l.tallies.Get(key)
		if !ok {
			t = &dropTally{first: e.Time, opening: map[natFlow]time.Time{}}
		}
		t.add(e)
		l.tallies.Put(key, t)
	}
}

func (l *dropCounts) pass(at dropPlace) {
	if l.passed == nil || len(l.passed) >= maxPlaces {
		l.passed = map[dropPlace]uint64{}
	}
	l.passed[at]++
}

// of returns what was counted of a drop's kind.
func (l *dropCounts) of(e event.Event, d event.Drop) *dropTally {
	if t, ok := l.tallies.Get(dropKey{dropPlace{e.Netns, e.Ifindex}, d.Reason, d.Location}); ok {
		return t
	}
	return &dropTally{count: 1, first: e.Time, last: e.Time, seconds: 1}
}

func (t *dropTally) add(e event.Event) {
	t.count++
	t.last = e.Time
	now := e.Time.Unix()
	if now != t.second {
		t.second = now
		t.seconds++
	}
	slot := &t.recent[uint64(now)%dropWindow] // a file may be of before 1970
	if slot.second != now {
		*slot = dropsInSecond{second: now}
	}
	slot.count++
	p := e.Packet.Innermost()
	if p.Proto != "tcp" || !p.HasFlag('S') {
		return
	}
	flow := natFlow{p.Proto, p.Flow()}
	first, again := t.opening[flow]
	switch {
	case again && e.Time.Sub(first) >= secondTry:
		t.refused = true
	case !again && len(t.opening) < maxOpenings:
		t.opening[flow] = e.Time
	}
}

// lately is how many there were in the last seconds before the latest.
func (t *dropTally) lately() (n uint64) {
	for _, s := range t.recent {
		if t.second-s.second < dropWindow {
			n += s.count
		}
	}
	return max(n, min(t.count, 1))
}

// How many drops make a fault, and a failure; and which share of what passes they must be.
const (
	lossFault     = 5
	lossFailure   = 20
	shareHurts    = 0.01
	shareCongests = 0.05
	shareFails    = 0.5
	congestedFor  = 3 // seconds with drops, of at least as many but one: a queue that was full for a moment is no fault
)

// severity judges. share is of what was sent by that device, below 0 if it is not known.
func (t *dropTally) severity(h harm, share float64) event.Severity {
	lately := t.lately()
	switch h {
	case loss:
		return event.Warning
	case congestion:
		if t.count >= lossFailure && t.seconds >= congestedFor && t.last.Sub(t.first) >= (congestedFor-1)*time.Second && share >= shareCongests {
			return event.Warning
		}
	case faulty:
		hurts := share < 0 || share >= shareHurts
		switch {
		case t.refused, hurts && (lately >= lossFailure || lately >= lossFault && share >= shareFails):
			return event.Critical
		case hurts && lately >= lossFault:
			return event.Warning
		}
	}
	return event.Info
}

// shareLost is which share of what was sent is dropped, as the queue itself counted or the hops at the device say.
func (st *State) shareLost(e event.Event, t *dropTally) float64 {
	if sent, dropped, ok := st.queues.rose(e.Netns, e.Ifindex); ok && dropped > 0 {
		return float64(dropped) / float64(sent+dropped)
	}
	if passed := st.drops.passed[dropPlace{e.Netns, e.Ifindex}]; passed > 0 {
		return min(1, float64(t.count)/float64(passed))
	}
	return -1
}

// lostEvidence is how much was lost, of what, and what the queue or the socket says of it.
func (st *State) lostEvidence(e event.Event, d event.Drop, t *dropTally) []string {
	var all []string
	if t.count > 1 {
		text := fmt.Sprintf("%d drops for that reason there in %v", t.count, t.last.Sub(t.first).Round(100*time.Millisecond))
		if passed := st.drops.passed[dropPlace{e.Netns, e.Ifindex}]; passed > t.count {
			text += fmt.Sprintf(", of %d packets seen at the device", passed)
		}
		all = append(all, text)
	}
	switch st.meaningOf(e, d).id {
	case "queue-drop":
		all = append(all, st.queues.evidence(e.Netns, e.Ifindex)...)
	case "bpf-drop":
		for _, p := range st.programsFor(e, d) {
			all = append(all, p.String())
		}
	}
	if s, ok := st.sockets.Get(event.KeyOf(e)); ok && s.Found {
		text := fmt.Sprintf("the socket at %v is %s, queue %d, limit %d", s.Local, s.State, s.Queue, s.Limit)
		if s.PID != 0 {
			text += fmt.Sprintf(", of process %v", event.Process{PID: s.PID, Comm: s.Comm})
		}
		all = append(all, text)
	}
	return all
}
