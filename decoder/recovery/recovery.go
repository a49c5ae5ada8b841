// SPDX-License-Identifier: Apache-2.0

package recovery

import (
	"time"

	"ktrace/decoder/event"
)

const (
	// overAfter is how long, after something failed, it must work again.
	overAfter = time.Second
	// overKnown is how long it takes at most until it is known that something failed: a query is waited for.
	overKnown = 7 * time.Second
	// overEnough is how often it must work again if it failed without a break; overOften if it is not sure that it was
	// the same that failed; overProof if that it works is all that was amiss; and overRuns how many times as often as it
	// worked between failures, if it did.
	overEnough, overOften, overProof, overRuns = 3, 10, 1, 10
)

// again is how often the same works since it failed last, and how it was before.
type again struct {
	since, between, runs uint64
	first                time.Time // of since
	pairs, working       int       // clients and servers that met the cause, and those of them for which it works
	queries, repeated    bool      // it is queries that failed, and one of them was asked again and answered
	others               bool      // what works may be another backend
}

// over is since when what a finding is about works again, or the pod that it is about has ended; zero if neither is
// so, or that is not known.
func (s *Successes) over(f event.Finding, now time.Time) (since time.Time, ended bool) {
	if len(f.Traffic) == 0 || now.Sub(lastFailed(f)) < overAfter {
		return time.Time{}, false
	}
	if since := s.ended.since(f); !since.IsZero() {
		return since, true
	}
	return s.worksSince(f), false
}

// Since reports whether anything of what a finding is about has worked since it failed last, or the pod that it is about ended.
func (s *Successes) Since(f event.Finding) bool {
	return s.again(f, false).since > 0 || !s.ended.since(f).IsZero()
}

// worksSince is since when what a finding is about works again.
func (s *Successes) worksSince(f event.Finding) time.Time {
	same, any := s.again(f, true), s.again(f, false)
	enough := uint64(overEnough)
	switch {
	case f.About.Rule != (event.FilterRule{}): // which may still be there, and be for some packets only
		enough = overOften
	case f.ID == "connection-refused" && f.Confidence == event.Certain && !same.others: // by who has the address, and listens now
		enough = overProof
	}
	if same.queries && !same.repeated {
		if f.ID != "dns-server-refused" { // which has nothing to do with what is asked
			return time.Time{}
		}
		enough = overOften
	}
	switch {
	case same.enough(enough) && attempts(f):
		return same.first
	case any.enough(overOften) && attempts(f):
		return any.first
	}
	return time.Time{}
}

func lastFailed(f event.Finding) (last time.Time) {
	for _, t := range f.Traffic {
		if t.Last.After(last) {
			last = t.Last
		}
	}
	return last
}

// attempts reports whether all that failed is such that it can be known whether it works again: what failed in the midst
// of an exchange counts if exchanges of the same could not be begun either.
func attempts(f event.Finding) bool {
	for _, t := range f.Traffic {
		if t.Level != event.AttemptNone {
			continue
		}
		begun := false
		for _, x := range f.Traffic {
			begun = begun || x.Level != event.AttemptNone && x.Meets(t)
		}
		if !begun {
			return false
		}
	}
	return true
}

// again looks for what works of a finding's traffic since it failed last: with the same backend, or any.
func (s *Successes) again(f event.Finding, sameBackend bool) (a again) {
	last := lastFailed(f)
	for _, t := range f.Traffic {
		if t.Level == event.AttemptNone {
			continue
		}
		works := s.of(t, f.About.Netns, sameBackend && t.Backend.IsValid(), ofServer(f.ID))
		since, first := works.After(last)
		between, runs := works.Between(t.Failed)
		a.pairs++
		a.others = a.others || len(t.Servers) > 1 && !(sameBackend && t.Backend.IsValid())
		a.queries = a.queries || t.Level == event.AttemptQuery
		a.repeated = a.repeated || t.Level == event.AttemptQuery && s.repeated(t, f.About.Netns)
		if since > 0 {
			a.working++
		}
		if a.first.IsZero() || since > 0 && first.Before(a.first) {
			a.first = first
		}
		a.since, a.between, a.runs = max(a.since, since), a.between+between, a.runs+runs
	}
	return a
}

// enough reports whether it works often enough to say that the cause is over, and for three of four whom it hit: others
// may have no reason to try again.
func (a again) enough(least uint64) bool {
	if a.runs > 0 {
		least = max(least, overRuns*((a.between+a.runs-1)/a.runs))
	}
	return a.since >= least && 4*a.working >= 3*a.pairs
}

// ofServer reports whether a cause lies with the server alone, so that it is over once any client reaches it again.
func ofServer(id string) bool {
	switch id {
	case "connection-refused", "icmp-unreachable", "accept-queue-full", "socket-buffer-full", "dns-server-refused", "dns-servfail", "dns-refused":
		return true
	}
	return false
}

// Settle demotes findings to information that are over, and returns them: the same works again, or the pod has ended. A finding
// waits until a later failure would be known; at the end, with all, it does not.
func (s *Successes) Settle(folder *event.Folder, now time.Time, all bool) []event.Finding {
	return folder.Demote(func(f event.Finding) (since time.Time, ended bool) {
		if !all && now.Sub(lastFailed(f)) < overKnown {
			return time.Time{}, false
		}
		return s.over(f, now)
	})
}
