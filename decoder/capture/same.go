// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"hash/maphash"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
)

// sameness recognises packets that were seen before, at another device.
type sameness struct {
	seed        maphash.Seed
	now, before map[uint64]int64 // when each was seen first; before is of an earlier span
	turned      int64
}

// sameWithin is how far apart in time copies of one packet may be, nanoseconds: an unresolved neighbour, and a full
// queue, hold a packet up.
const sameWithin = int64(100e6)

// maxSame is how many packets are remembered of one span, and of the one before it.
const maxSame = 1 << 18

func newSameness() *sameness {
	return &sameness{seed: maphash.MakeSeed(), now: map[uint64]int64{}, before: map[uint64]int64{}}
}

// again reports whether the packet was seen before. What routers change is not looked at.
func (s *sameness) again(src *source, p *pcapng.Packet) bool {
	if p.Time-s.turned > sameWithin || p.Time < s.turned || len(s.now) >= maxSame {
		s.before, s.now, s.turned = s.now, s.before, p.Time
		clear(s.now)
	}
	key := s.hash(src, p)
	for _, seen := range []map[uint64]int64{s.now, s.before} {
		if first, ok := seen[key]; ok && p.Time-first <= sameWithin {
			return true
		}
	}
	s.now[key] = p.Time
	return false
}

func (s *sameness) hash(src *source, p *pcapng.Packet) uint64 {
	const ttl4, sum4, ttl6 = 8, 10, 7
	f := event.RawFrame{Data: p.Data, Length: p.Length}
	switch {
	case src.link == pcapng.LinkEthernet && len(f.Data) > etherSize:
		f.Data = f.Data[etherSize:]
	case src.known:
		src.header.strip(&f)
	}
	b := f.Data
	var h maphash.Hash
	h.SetSeed(s.seed)
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		h.Write(b[:ttl4])
		h.WriteByte(b[ttl4+1])
		b = b[sum4+2:]
	case len(b) >= 40 && b[0]>>4 == 6:
		h.Write(b[:ttl6])
		b = b[ttl6+1:]
	}
	h.Write(b)
	return h.Sum64()
}
