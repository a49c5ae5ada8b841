// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"cmp"
	"fmt"
	"time"

	"ktrace/decoder/event"
)

// refusedKey is an owner's account of a table of the kernel half.
type refusedKey struct {
	table event.SharedTable
	owner uint64
}

// refusedTo is what an owner was refused, and its name while it was there.
type refusedTo struct {
	event.Refused
	who string
}

// learnRefused takes in what was refused so far, to whom.
func (x *Index) learnRefused(now time.Time, all []event.Refused) {
	for _, r := range all {
		k := refusedKey{r.Table, r.Owner}
		before, _ := x.refused.Get(k)
		r.Held = max(r.Held, before.Held)
		x.refused.Put(k, refusedTo{r, cmp.Or(x.whose(r, now), before.who)})
	}
}

// whose names an owner, "" if it is not known.
func (x *Index) whose(r event.Refused, now time.Time) string {
	if netns := r.Netns(); netns != 0 {
		return x.Whose(netns, now)
	}
	return x.Of(r.Owner).String()
}

// Summarize implements event.Summarizer.
func (x *Index) Summarize(s *event.Summary) {
	s.AddEvicted("facts about pods", x.leftOut)
	for k, r := range x.refused.All() {
		what := fmt.Sprintf("control group %d", k.owner)
		if netns := r.Netns(); netns != 0 {
			what = fmt.Sprintf("netns %d", netns)
		}
		if r.who != "" {
			what += " (" + r.who + ")"
		}
		s.AddEvicted(r.What(what), r.Count)
	}
}
