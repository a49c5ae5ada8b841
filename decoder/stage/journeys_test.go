// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// TestCopiesAtOnePlaceAreOnePacket: what went round, or comes later, is another, though it has the same bytes.
func TestCopiesAtOnePlaceAreOnePacket(t *testing.T) {
	frame := func(at time.Duration, ifindex uint32, ttl uint8) event.Event {
		p := eventtest.Packet("udp", "10.244.0.2:40000", "10.96.0.10:53", "")
		p.TTL = ttl
		return event.Event{Header: event.Header{Time: time.Unix(1000, 0).Add(at), Ifindex: ifindex}, Packet: p, Body: event.Frame{}}
	}
	const us, ms = time.Microsecond, time.Millisecond
	for _, c := range []struct {
		name   string
		frames []event.Event
		want   int // packets
	}{
		{"a copy", []event.Event{frame(0, 1, 64), frame(20*us, 1, 64)}, 1},
		{"copies one after another", []event.Event{frame(0, 1, 64), frame(40*ms, 1, 64), frame(80*ms, 1, 64)}, 1},
		{"at another device, and copies there", []event.Event{frame(0, 1, 64), frame(0, 2, 63), frame(us, 1, 64), frame(us, 2, 63)}, 1},
		{"sent again", []event.Event{frame(0, 1, 64), frame(100*ms, 1, 64)}, 2},
		{"sent again, and a copy of that", []event.Event{frame(0, 1, 64), frame(100*ms, 1, 64), frame(100*ms+us, 1, 64)}, 2},
		{"in a loop", []event.Event{frame(0, 1, 64), frame(20*us, 1, 62), frame(40*us, 1, 60)}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, seen := NewJourneys(), map[uint64]bool{}
			for _, e := range c.frames {
				seen[j.Observe(e)[0].Journey] = true
			}
			if len(seen) != c.want {
				t.Errorf("%d packets, want %d", len(seen), c.want)
			}
		})
	}
}

// TestWholePacketsBesideThoseWatchedAreNotCountedTwice: a flight recorder has both.
func TestWholePacketsBesideThoseWatchedAreNotCountedTwice(t *testing.T) {
	for _, watched := range []bool{false, true} {
		j := NewJourneys()
		j.Observe(event.Event{Body: event.Fact{Node: &event.Node{Watched: watched}}})
		frame := event.Event{Packet: &packet.Packet{Proto: "udp"}, Body: event.Frame{}}
		if hops := j.Observe(frame); len(hops) != 0 == watched {
			t.Errorf("watched %v: %d hops", watched, len(hops))
		}
	}
}
