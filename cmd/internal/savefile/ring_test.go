// SPDX-License-Identifier: Apache-2.0

package savefile

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestRingKeepsTheNewest compares with a queue: what was put is reported when it is evicted, in order and whole, and all
// that fits is kept.
func TestRingKeepsTheNewest(t *testing.T) {
	const size = 1000
	random := rand.New(rand.NewPCG(1, 2))
	for _, largest := range []int{1, 7, 100, 400, 996} {
		r := newRing(size)
		var queue [][]byte
		evict := func(raw []byte) {
			if len(queue) == 0 || !bytes.Equal(raw, queue[0]) {
				t.Fatalf("forgot %x, the oldest is %x", raw, queue[0])
			}
			queue = queue[1:]
		}
		filled := 0 // since it was empty
		for n := range 20_000 {
			raw := bytes.Repeat([]byte{byte(n), byte(n >> 8)}, largest)[:random.IntN(largest)+1]
			r.put(raw, evict)
			queue = append(queue, raw)
			if r.count != len(queue) {
				t.Fatalf("holds %d records, want %d", r.count, len(queue))
			}
			held := 0
			for _, raw := range queue {
				held += lengthSize + len(raw)
			}
			filled += lengthSize + len(raw)
			if next := lengthSize + largest; held > size || filled > 2*size && held < size-2*next-lengthSize {
				t.Fatalf("holds %d bytes of %d with records of up to %d", held, size, largest)
			}
			if random.IntN(5000) == 0 {
				for r.count > 0 {
					evict(r.take())
				}
				filled = 0
			}
		}
	}
}

func TestRingForgetsWhatIsLargerThanItself(t *testing.T) {
	r := newRing(100)
	evicted := 0
	r.put(make([]byte, 97), func([]byte) { evicted++ })
	if evicted != 1 || r.count != 0 {
		t.Errorf("evicted %d, holds %d", evicted, r.count)
	}
}
