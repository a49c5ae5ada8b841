package decoder

import "time"

// timeline counts what happened when. The longer ago, the coarser it is.
type timeline []span

// span is a time in which something happened so often.
type span struct {
	from, to time.Time
	n        uint64
}

// spanTime is what is not told apart.
const spanTime = 100 * time.Millisecond

// add counts what happened in a time; most is how many spans are kept.
func (l *timeline) add(from, to time.Time, n uint64, most int) {
	i := len(*l)
	for i > 0 && (*l)[i-1].from.After(from) { // what took its time to be known
		i--
	}
	if i > 0 && from.Sub((*l)[i-1].from) < spanTime {
		(*l)[i-1].join(span{from, to, n})
		return
	}
	*l = append(*l, span{})
	copy((*l)[i+1:], (*l)[i:])
	(*l)[i] = span{from, to, n}
	if len(*l) > most {
		l.coarsen()
	}
}

func (s *span) join(x span) {
	s.n += x.n
	if x.to.After(s.to) {
		s.to = x.to
	}
}

// coarsen joins the older half by twos.
func (l *timeline) coarsen() {
	old := (*l)[:len(*l)/2&^1]
	for i := range len(old) / 2 {
		joined := old[2*i]
		joined.join(old[2*i+1])
		old[i] = joined
	}
	*l = append(old[:len(old)/2], (*l)[len(old):]...)
}

// last is when something happened last.
func (l timeline) last() time.Time {
	var last time.Time
	for _, s := range l {
		if s.to.After(last) {
			last = s.to
		}
	}
	return last
}

// after is how often it happened since, and when first.
func (l timeline) after(t time.Time) (n uint64, first time.Time) {
	for _, s := range l {
		if s.from.After(t) {
			if n == 0 {
				first = s.from
			}
			n += s.n
		}
	}
	return n, first
}

// between is how often it happened while the other did, and in how many runs.
func (l timeline) between(other timeline) (n, runs uint64) {
	if len(other) == 0 {
		return 0, 0
	}
	end := other[0].from
	for _, o := range other {
		run := l.within(end, o.from)
		if o.n > 1 { // and among these
			run += l.within(o.from, o.to)
		}
		if run > 0 {
			n, runs = n+run, runs+1
		}
		end = o.to
	}
	return n, runs
}

// within is how often it happened in a time, as far as that can be told.
func (l timeline) within(from, to time.Time) (n uint64) {
	for _, s := range l {
		if !s.to.Before(from) && s.from.Before(to) {
			n += s.n
		}
	}
	return n
}
