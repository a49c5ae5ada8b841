// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// queues are the queueing disciplines of devices as they were first and last read.
type queues struct {
	first, last bounded.Map[queueKey, event.Qdisc]
}

type queueKey struct {
	netns, ifindex uint32
	handle         uint32
	parent         uint32
}

func (q *queues) learn(f event.Qdisc) {
	key := queueKey{f.Netns, f.Ifindex, f.Handle, f.Parent}
	if old, ok := q.last.Get(key); !ok || f.Packets < old.Packets || f.Dropped < old.Dropped { // it was made anew
		q.first.Put(key, f)
	}
	q.last.Put(key, f)
}

// queue is one with what rose since it was first read.
type queue struct {
	event.Qdisc
	sent, dropped uint64
}

// of returns those of a device: its root first, then those below.
func (q *queues) of(netns, ifindex uint32) []queue {
	var all []queue
	for key, last := range q.last.All() {
		if key.netns == netns && key.ifindex == ifindex {
			first, _ := q.first.Get(key)
			all = append(all, queue{last, last.Packets - first.Packets, last.Dropped - first.Dropped})
		}
	}
	slices.SortFunc(all, func(a, b queue) int { return cmp.Or(cmp.Compare(b.Parent, a.Parent), cmp.Compare(a.Handle, b.Handle)) })
	return all
}

// rose is what the root of a device sent and dropped meanwhile.
func (q *queues) rose(netns, ifindex uint32) (sent, dropped uint64, ok bool) {
	for _, d := range q.of(netns, ifindex) {
		if d.Root() {
			return d.sent, d.dropped, d.sent+d.dropped > 0
		}
	}
	return 0, 0, false
}

// noCarrier reports whether a device has none, when its queues were last read.
func (q *queues) noCarrier(netns, ifindex uint32) bool {
	return slices.ContainsFunc(q.of(netns, ifindex), func(d queue) bool { return d.NoCarrier })
}

// evidence says what a device's queues are, and what they counted.
func (q *queues) evidence(netns, ifindex uint32) []string {
	var all []string
	for _, d := range q.of(netns, ifindex) {
		text := fmt.Sprintf("qdisc %s", d)
		if d.dropped > 0 {
			text += fmt.Sprintf(" sent %d packets and dropped %d while it was watched", d.sent, d.dropped)
		} else {
			text += fmt.Sprintf(" has sent %d packets and dropped %d", d.Packets, d.Dropped)
		}
		if d.Backlog > 0 {
			text += fmt.Sprintf(", %d wait", d.Backlog)
		}
		all = append(all, text)
	}
	return all
}
