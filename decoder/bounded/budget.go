// SPDX-License-Identifier: Apache-2.0

package bounded

// Budget is memory that several lists share: what does not fit any more is left out. The zero Budget holds nothing: set Most.
type Budget struct {
	Most int // bytes
	used int
	out  uint64
}

// Take reserves so many bytes, and reports whether they are there.
func (b *Budget) Take(bytes int) bool {
	if bytes > b.Most-b.used {
		b.out++
		return false
	}
	b.used += bytes
	return true
}

// LeftOut is how often there was no room.
func (b *Budget) LeftOut() uint64 { return b.out }
