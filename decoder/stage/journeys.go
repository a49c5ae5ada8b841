// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Journeys is the stage that makes hops of captured packets, for the stages that know what becomes of packets. It
// recognizes a packet at several devices by its bytes, as far as no device changes them; in a tunnel, by those
// of the packet that is carried.
type Journeys struct {
	seed           maphash.Seed
	latest, before map[uint64]*tracked // those of the span at hand, and of the one before it
	turned         time.Time           // when that began
	next           uint64
	watched        bool // packets were watched on their way: to make hops of whole ones would count them twice
	only           event.Single
}

// tracked is one packet's way.
type tracked struct {
	id     uint64
	last   time.Time
	places []hop
	few    [2]hop // most are seen at no more
}

// hop is where a packet was seen; and how it was, and when, at last.
type hop struct {
	place
	ttl  uint8
	last time.Time
}

type place struct {
	netns, ifindex uint32
	way            event.Direction
}

// copiesWithin is how far apart copies of a packet are that one place has: of a mirror of several ports, or of all
// devices together where the capture does not distinguish them. Who sends the same again waits longer.
const copiesWithin = 50 * time.Millisecond

// longestTrip is how long a packet may be on its way through a node: an unresolved neighbour holds it for 3 s. Where
// packets come faster than maxTrips in that time, those that are held so long may not be known again.
const (
	longestTrip = 4 * time.Second
	maxTrips    = 1 << 15
	maxPlaces   = 256 // of one packet: no TTL is larger
)

// NewJourneys returns the stage.
func NewJourneys() *Journeys {
	return &Journeys{seed: maphash.MakeSeed(), latest: map[uint64]*tracked{}, before: map[uint64]*tracked{}}
}

// Observe implements Stage.
func (j *Journeys) Observe(e event.Event) []event.Event {
	if fact, ok := e.Body.(event.Fact); ok && fact.Node != nil {
		j.watched = fact.Node.Watched
	}
	f, ok := e.Body.(event.Frame)
	if !ok {
		return j.only.Event(e)
	}
	if e.Packet == nil || j.watched {
		return nil
	}
	if e.Journey == 0 { // else the capture identifies it
		e.Journey = j.journey(e)
	}
	e.Body = event.Hop{Captured: true, ToAll: f.ToAll()}
	return j.only.Event(e)
}

// journey is the number of the packet's way. One that comes by the same place again is another packet, but for a copy:
// one that went round has another TTL.
func (j *Journeys) journey(e event.Event) uint64 {
	at := hop{place{e.Netns, e.Ifindex, e.Direction}, e.Packet.TTL, e.Time}
	key := j.fingerprint(e.Packet.Innermost())
	t, ok := j.latest[key]
	if !ok {
		if len(j.latest) >= maxTrips {
			j.rotate(e.Time)
		}
		if t = j.before[key]; t != nil {
			j.latest[key] = t
		}
	}
	if t == nil || e.Time.Sub(t.last) > longestTrip || !t.comesBy(at) {
		j.next++
		t = &tracked{id: j.next}
		t.places = append(t.few[:0], at)
		j.latest[key] = t
	}
	t.last = e.Time
	return t.id
}

// comesBy takes in where the packet is. It returns false if it is another that is the same.
func (t *tracked) comesBy(at hop) bool {
	i := slices.IndexFunc(t.places, func(v hop) bool { return v.place == at.place })
	if i < 0 && len(t.places) >= maxPlaces {
		return false
	}
	if i < 0 {
		t.places = append(t.places, at)
		return true
	}
	before := &t.places[i]
	if before.ttl != at.ttl || at.last.Sub(before.last) > copiesWithin {
		return false
	}
	before.last = at.last
	return true
}

// fingerprint is what routers leave as it is: all but TTL and checksum.
func (j *Journeys) fingerprint(p *packet.Packet) uint64 {
	const enough = 64
	var h maphash.Hash
	h.SetSeed(j.seed)
	src, dst := p.Src.As16(), p.Dst.As16()
	h.Write(src[:])
	h.Write(dst[:])
	var b [10]byte
	binary.LittleEndian.PutUint32(b[:], p.ID)
	binary.LittleEndian.PutUint16(b[4:], p.Fragment)
	binary.LittleEndian.PutUint32(b[6:], p.Len)
	h.Write(b[:])
	h.WriteString(p.Proto)
	body := p.TransportHeader()
	h.Write(body[:min(len(body), enough)])
	return h.Sum64()
}

// Flush implements Stage: it forgets ways that have come to their end.
func (j *Journeys) Flush(now time.Time, _ bool) []event.Event {
	if now.Sub(j.turned) >= longestTrip {
		j.rotate(now)
	}
	return nil
}

// rotate begins a new span; what was last seen before the one that ends is forgotten.
func (j *Journeys) rotate(now time.Time) {
	j.before, j.latest, j.turned = j.latest, j.before, now
	clear(j.latest)
}
