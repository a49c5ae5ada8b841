package decoder

import (
	"testing"
	"time"
)

// TestCopiesAtOnePlaceAreOnePacket: what went round, or comes later, is another, though it has the same bytes.
func TestCopiesAtOnePlaceAreOnePacket(t *testing.T) {
	frame := func(at time.Duration, ifindex uint32, ttl uint8) Event {
		p := fromTo("udp", "10.244.0.2:40000", "10.96.0.10:53", "")
		p.TTL = ttl
		return Event{Header: Header{Time: time.Unix(1000, 0).Add(at), Ifindex: ifindex}, Packet: p, Body: Frame{}}
	}
	const us, ms = time.Microsecond, time.Millisecond
	for _, c := range []struct {
		name   string
		frames []Event
		want   int // packets
	}{
		{"a copy", []Event{frame(0, 1, 64), frame(20*us, 1, 64)}, 1},
		{"copies one after another", []Event{frame(0, 1, 64), frame(40*ms, 1, 64), frame(80*ms, 1, 64)}, 1},
		{"at another device, and copies there", []Event{frame(0, 1, 64), frame(0, 2, 63), frame(us, 1, 64), frame(us, 2, 63)}, 1},
		{"sent again", []Event{frame(0, 1, 64), frame(100*ms, 1, 64)}, 2},
		{"sent again, and a copy of that", []Event{frame(0, 1, 64), frame(100*ms, 1, 64), frame(100*ms+us, 1, 64)}, 2},
		{"in a loop", []Event{frame(0, 1, 64), frame(20*us, 1, 62), frame(40*us, 1, 60)}, 3},
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
		j.Observe(Event{Body: Fact{Node: &Node{Watched: watched}}})
		frame := Event{Packet: &Packet{Proto: "udp"}, Body: Frame{}}
		if hops := j.Observe(frame); len(hops) != 0 == watched {
			t.Errorf("watched %v: %d hops", watched, len(hops))
		}
	}
}
