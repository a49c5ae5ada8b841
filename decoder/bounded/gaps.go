// SPDX-License-Identifier: Apache-2.0

package bounded

import "slices"

// Gaps are times in which something was lost, in order. Times are nanoseconds. Of many the oldest are joined with what lies
// between them, so that none is forgotten.
type Gaps struct{ all []span }

const (
	maxGaps   = 1 << 10
	gapsApart = int64(10e6) // closer ones are one
)

// Add takes in that so much was lost in a time.
func (g *Gaps) Add(from, to int64, n uint64) {
	x := span{from, max(from, to), n}
	i := len(g.all)
	for i > 0 && g.all[i-1].to+gapsApart >= x.from {
		i--
	}
	j := i
	for ; j < len(g.all) && g.all[j].from <= x.to+gapsApart; j++ {
		x = span{min(x.from, g.all[j].from), max(x.to, g.all[j].to), x.n + g.all[j].n}
	}
	g.all = slices.Replace(g.all, i, j, x)
	if len(g.all) > maxGaps {
		g.all[1].from, g.all[1].n = g.all[0].from, g.all[0].n+g.all[1].n
		g.all = slices.Delete(g.all, 0, 1)
	}
}

// Touching returns the first and last moment, and the number, of what was lost in the gaps that touch a time; 0 if none does.
func (g *Gaps) Touching(from, to int64) (first, last int64, n uint64) {
	for i := len(g.all) - 1; i >= 0 && g.all[i].to >= from; i-- {
		if x := g.all[i]; x.from <= to {
			first, last, n = x.from, max(last, x.to), n+x.n
		}
	}
	return first, last, n
}
