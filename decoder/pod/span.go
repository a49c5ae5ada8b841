// SPDX-License-Identifier: Apache-2.0

package pod

import "time"

// keep is how long what ended is remembered, for events that come late: by the design at least a minute.
const keep = 2 * time.Minute

// span is the time during which a pod had a namespace or an address. Both are used again, so neither means anything
// without the time.
type span struct {
	pod    *Info
	source string
	from   time.Time
	to     time.Time // zero while it lasts
}

// spans are those of one namespace or address, oldest first.
type spans []span

// at returns whose it was.
func (s spans) at(t time.Time) (span, bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if x := s[i]; !t.Before(x.from) {
			return x, x.to.IsZero() || !t.After(x.to)
		}
	}
	return span{}, false
}

// heldBy reports whether p has it now.
func (s spans) heldBy(p *Info) bool {
	n := len(s)
	return n > 0 && s[n-1].pod == p && s[n-1].to.IsZero()
}

// begin says that p has it from then on, and its owner before no longer.
func (s spans) begin(p *Info, source string, from time.Time) spans {
	if n := len(s); n > 0 {
		switch last := &s[n-1]; {
		case last.to.IsZero() && last.pod == p:
			return s
		case last.to.IsZero():
			last.to = from.Add(-1)
		case !from.After(last.to): // a pod is heard of before it has an address, which may be another's still
			from = last.to.Add(1)
		}
	}
	if len(s) >= maxSpans {
		s = s[:copy(s, s[1:])]
	}
	return append(s, span{pod: p, source: source, from: from})
}

// end says that p had it until then.
func (s spans) end(p *Info, to time.Time) {
	for i := range s {
		if s[i].pod == p && s[i].to.IsZero() {
			s[i].to = to
		}
	}
}

// since returns those that had not ended by then.
func (s spans) since(t time.Time) spans {
	var kept spans
	for _, x := range s {
		if x.to.IsZero() || x.to.After(t) {
			kept = append(kept, x)
		}
	}
	return kept
}
