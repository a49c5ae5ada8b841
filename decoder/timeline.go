package decoder

import "time"

// timeline counts what happened when. The longer ago, the coarser it is.
type timeline []span

// span is a time in which something happened so often. Times are nanoseconds since 1970: there are many spans.
type span struct {
	from, to int64
	n        uint64
}

// spanTime is what is not told apart.
const spanTime = int64(100 * time.Millisecond)

// add counts what happened in a time; most is how many spans are kept.
func (l *timeline) add(x span, most int) {
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

// spanOf is a time in which something happened so often.
func spanOf(from, to time.Time, n uint64) span { return span{from.UnixNano(), to.UnixNano(), n} }

func (s *span) join(x span) {
	s.n += x.n
	s.to = max(s.to, x.to)
}

// coarsen joins the older half by twos.
func (l *timeline) coarsen() {
	half := len(*l) / 2 &^ 1
	for i := range half / 2 {
		joined := (*l)[2*i]
		joined.join((*l)[2*i+1])
		(*l)[i] = joined
	}
	*l = append((*l)[:half/2], (*l)[half:]...)
}

// after is how often it happened since, and when first.
func (l timeline) after(t time.Time) (n uint64, first time.Time) {
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
func (l timeline) within(from, to int64) (n uint64) {
	for _, s := range l {
		if s.to >= from && s.from < to {
			n += s.n
		}
	}
	return n
}
