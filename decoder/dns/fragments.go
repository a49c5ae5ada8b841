// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// An answer that does not fit into a packet comes in fragments, and is one for the client only if all of them arrive.

// datagram names the packet that fragments are of (RFC 791, section 3.2; RFC 8200, section 4.5).
type datagram struct {
	between
	id uint32
}

// piece is a fragment at a place.
type piece struct {
	datagram
	place
}

// parts are the fragments of an answer at a place.
type parts struct {
	atClient bool
	ranges   [][2]uint32 // of bytes that came, in order, apart from each other
	size     uint32      // of the whole, 0 until the last fragment comes
	last     time.Time
}

// fragments is what the stage knows of them.
type fragments struct {
	at      bounded.Map[piece, *parts]
	answers bounded.Map[datagram, *query]
	orphans bounded.Map[between, *parts] // latest whose first fragment was not seen
	later   bool                         // some fragment behind a first was seen at all
}

// maxRanges bounds the holes that are kept of one datagram.
const maxRanges = 64

func (p *parts) add(from, to uint32, last bool) {
	if last {
		p.size = to
	}
	var apart [][2]uint32
	for _, r := range p.ranges {
		if r[1] < from || r[0] > to {
			apart = append(apart, r)
			continue
		}
		from, to = min(from, r[0]), max(to, r[1])
	}
	if len(apart) < maxRanges {
		apart = append(apart, [2]uint32{from, to})
	}
	slices.SortFunc(apart, func(a, b [2]uint32) int { return int(a[0]) - int(b[0]) })
	p.ranges = apart
}

func (p *parts) complete() bool {
	return p.size > 0 && len(p.ranges) == 1 && p.ranges[0] == [2]uint32{0, p.size}
}

// report returns what is known of the fragments.
func (p *parts) report() *event.Fragments {
	const header = 8 // of UDP
	f := &event.Fragments{First: len(p.ranges) > 0 && p.ranges[0][0] == 0, AtClient: p.atClient}
	for _, r := range p.ranges {
		f.Arrived += r[1] - r[0]
	}
	if f.First {
		f.Arrived -= min(f.Arrived, header)
	}
	if p.size > 0 {
		f.Size = p.size - min(p.size, header)
	}
	return f
}

// fragment takes in a part of a UDP packet; nil if it is a whole one.
func (s *Stage) fragment(e event.Event) *parts {
	if e.Packet.Proto != "udp" || !e.Packet.IsFragment() {
		return nil
	}
	s.fragments.later = s.fragments.later || e.Packet.Fragment != 0
	at := piece{datagramOf(e.Packet), placeOf(e)}
	p, ok := s.fragments.at.Get(at)
	if !ok {
		p = &parts{}
		s.fragments.at.Put(at, p)
	}
	from, to := e.Packet.Part()
	p.add(from, to, !e.Packet.More)
	p.last = e.Time
	return p
}

func datagramOf(p *packet.Packet) datagram {
	return datagram{between{p.Src, p.Dst}, p.ID}
}

// answerOf is the query that a fragment behind the first belongs to the answer of, nil if that is not known.
func (s *Stage) answerOf(p *packet.Packet) *query {
	if p.Proto != "udp" || p.Fragment == 0 {
		return nil
	}
	q, _ := s.fragments.answers.Get(datagramOf(p))
	return q
}

// laterFragment takes in one that is no query's by its bytes. It may complete an answer.
func (s *Stage) laterFragment(e event.Event, p *parts) {
	q := s.answerOf(e.Packet)
	if q == nil || q.closed {
		s.fragments.orphans.Put(between{e.Packet.Src, e.Packet.Dst}, p)
		return
	}
	q.came(p, q.returned(e))
	if p.atClient && p.complete() && !q.misses() {
		q.delivered = true
		s.await(q, e.Time)
	}
}

// firstFragment takes in the one by which it is known what they are of.
func (s *Stage) firstFragment(q *query, p *packet.Packet, all *parts, returned bool) {
	s.fragments.answers.Put(datagramOf(p), q)
	q.came(all, returned)
	q.delivered = q.delivered && all.complete()
}

// came takes in that parts of the answer are at a place. The client's own counts.
func (q *query) came(p *parts, atClient bool) {
	p.atClient = p.atClient || atClient
	if q.parts == nil || !q.parts.atClient || p.atClient {
		q.parts = p
	}
}

// cut reports whether the client did not get all fragments of the answer. A capture of nothing but ports has none but
// the first; then only that the client asks again says so.
func (q *query) cut() bool {
	return q.parts != nil && !q.parts.complete() && (!q.captured || *q.later || q.repeated)
}

// orphan finds fragments that came instead of an answer, without their first.
func (s *Stage) orphan(q *query) *parts {
	for _, k := range q.keys {
		p, ok := s.fragments.orphans.Get(between{k.flow.Dst.Addr(), k.flow.Src.Addr()})
		if ok && p.last.After(q.first.Time) && (len(p.ranges) == 0 || p.ranges[0][0] > 0) {
			return p
		}
	}
	return nil
}
