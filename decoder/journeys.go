package decoder

import (
	"encoding/binary"
	"hash/maphash"
	"time"
)

// Journeys is the stage that makes hops of captured packets, for the stages that know what becomes of packets. It
// tells that packets at several devices are one by their bytes, as far as no device changes them.
type Journeys struct {
	seed   maphash.Seed
	latest map[uint64]*trip
	swept  time.Time
	next   uint64
}

// trip is one packet's way.
type trip struct {
	id     uint64
	last   time.Time
	places map[visit]bool
}

type visit struct {
	netns, ifindex uint32
	way            Direction
}

// longestTrip is how long a packet may be on its way through a node: an unresolved neighbour holds it for 3 s.
const longestTrip = 4 * time.Second

// NewJourneys returns the stage.
func NewJourneys() *Journeys {
	return &Journeys{seed: maphash.MakeSeed(), latest: map[uint64]*trip{}}
}

// Observe implements Stage.
func (j *Journeys) Observe(e Event) []Event {
	if _, ok := e.Body.(Frame); !ok {
		return []Event{e}
	}
	if e.Packet == nil {
		return nil
	}
	e.Journey = j.journey(e)
	e.Body = Hop{}
	return []Event{e}
}

// journey is the number of the packet's way. One that comes by the same place again is another packet.
func (j *Journeys) journey(e Event) uint64 {
	at := visit{e.Netns, e.Ifindex, e.Direction}
	key := j.print(e.Packet)
	t := j.latest[key]
	if t == nil || t.places[at] || e.Time.Sub(t.last) > longestTrip {
		j.next++
		t = &trip{id: j.next, places: map[visit]bool{}}
		j.latest[key] = t
	}
	t.places[at], t.last = true, e.Time
	return t.id
}

// print is what routers leave as it is: all but TTL and checksum.
func (j *Journeys) print(p *Packet) uint64 {
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
	body := p.header()
	h.Write(body[:min(len(body), enough)])
	return h.Sum64()
}

// Flush implements Stage: it forgets ways that have come to their end.
func (j *Journeys) Flush(now time.Time, _ bool) []Event {
	if now.Sub(j.swept) < longestTrip {
		return nil
	}
	j.swept = now
	for key, t := range j.latest {
		if now.Sub(t.last) > longestTrip {
			delete(j.latest, key)
		}
	}
	return nil
}
