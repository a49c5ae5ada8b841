// SPDX-License-Identifier: Apache-2.0

package savefile

import (
	"encoding/binary"
	"math"
)

// ring keeps the newest records in memory of a fixed size.
type ring struct {
	memory []byte
	oldest int // where the oldest record begins, if there is one
	next   int // where the next one goes
	count  int
}

const (
	lengthSize = 4              // bytes before a record, which have its length
	skip       = math.MaxUint32 // marks that the rest of the memory is not used
)

func newRing(bytes int) *ring { return &ring{memory: make([]byte, bytes)} }

// put adds a record. It passes each record that it overwrites to evict first, and a record that is larger than the ring itself.
func (r *ring) put(raw []byte, evict func([]byte)) {
	need := lengthSize + len(raw)
	if need > len(r.memory) {
		evict(raw)
		return
	}
	if len(r.memory)-r.next < need {
		for r.count > 0 && r.oldest >= r.next {
			evict(r.take())
		}
		if len(r.memory)-r.next >= lengthSize {
			binary.LittleEndian.PutUint32(r.memory[r.next:], skip)
		}
		r.next = 0
	}
	for r.count > 0 && r.oldest >= r.next && r.oldest < r.next+need {
		evict(r.take())
	}
	if r.count == 0 {
		r.oldest = r.next
	}
	binary.LittleEndian.PutUint32(r.memory[r.next:], uint32(len(raw)))
	r.next += lengthSize + copy(r.memory[r.next+lengthSize:], raw)
	r.count++
}

// take removes the oldest record, which is valid until the next is put.
func (r *ring) take() []byte {
	if len(r.memory)-r.oldest < lengthSize || binary.LittleEndian.Uint32(r.memory[r.oldest:]) == skip {
		r.oldest = 0
	}
	begin := r.oldest + lengthSize
	end := begin + int(binary.LittleEndian.Uint32(r.memory[r.oldest:]))
	r.oldest = end
	r.count--
	return r.memory[begin:end]
}
