// SPDX-License-Identifier: Apache-2.0

package bounded

import "time"

// Timeline counts what happened when. The longer ago, the coarser it is.
type Timeline []span

// span is a time in which something happened so often. Times are nanoseconds since 1970: there are many spans.
type span struct {
	from, to int64
	n        uint64
}

// spanTime is the resolution.
const spanTime = int64(100 * time.Millisecond)

// Add counts what happened in a time; most is how many spans are kept.
func (l *Timeline) Add(x span, most int) {
	i := len(*l)
	for i > 0 && (*l)[i-1].from > x.from { // what took its time to be known
		i--
	}
	if i > 0 && x.from-(*l)[i-1].from < spanTime {
		(*l)[i-1].join(x)
		return
	}
	*l = append(*l, span{})
	copy((*l)[i+1:], (*l)[i:])
	(*l)[i] = x
	if len(*l) > most {
		l.coarsen()
	}
}

// NewSpan is a time in which something happened so often.
func NewSpan(from, to time.Time, n uint64) span { return span{from.UnixNano(), to.UnixNano(), n} }

func (s *span) join(x span) {
	s.n += x.n
	s.to = max(s.to, x.to)
}

// coarsen joins half of the older half, those with the least time between them: when it paused is kept.
func (l *Timeline) coarsen() {
	half := len(*l) / 2
	for n := half; n > half/2 && n > 1; n-- {
		closest := 0
		for i := range n - 1 {
			if (*l)[i+1].from-(*l)[i].to < (*l)[closest+1].from-(*l)[closest].to {
				closest = i
			}
		}
		(*l)[closest].join((*l)[closest+1])
		*l = append((*l)[:closest+1], (*l)[closest+2:]...)
	}
}

// After is how often it happened since, and when first.
func (l Timeline) After(t time.Time) (n uint64, first time.Time) {
	for _, s := range l {
		if s.from > t.UnixNano() {
			if n == 0 {
				first = time.Unix(0, s.from).UTC()
			}
			n += s.n
		}
	}
	return n, first
}

// Between is how often it happened while the other did, and in how many runs.
func (l Timeline) Between(other Timeline) (n, runs uint64) {
	if len(other) == 0 {
		return 0, 0
	}
	for i, o := range other {
		run := uint64(0)
		if i > 0 {
			run = l.within(other[i-1].to, o.from)
		}
		if o.n > 1 { // and among these
			run += l.within(o.from, o.to)
		}
		if run > 0 {
			n, runs = n+run, runs+1
		}
	}
	return n, runs
}

// within is how often it may have happened in a time: a span begins and ends with what is known to have happened then.
func (l Timeline) within(from, to int64) (n uint64) {
	for _, s := range l {
		if s.to < from || s.from >= to {
			continue
		}
		n += s.n
		if s.from < from {
			n--
		}
		if s.to >= to && s.to > s.from {
			n--
		}
	}
	return n
}
