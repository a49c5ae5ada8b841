package diagnose

import (
	"slices"
	"strings"

	"ktrace/decoder"
)

// A connection that is reset while a query waits on it is seen by two rules: one says who reset it, and the other which
// server does not answer. Where both speak of the same they are one finding, the deeper: a process that resets connections,
// or a DNS server that is not there.

// endings are the findings that account for others about the same connections.
type endings struct {
	resets  causes // of queries that have no answer for them
	refused causes // DNS servers, of connections that are refused
}

func endingsOf(found []decoder.Finding) endings {
	all := endings{causes{}, causes{}}
	for _, f := range found {
		switch {
		case f.ID == "dns-server-refused":
			all.refused.add(f)
		case ofReset(f):
			all.resets.add(f)
		}
	}
	return all
}

// ofReset reports whether a finding says who, or what, reset connections that were in use.
func ofReset(f decoder.Finding) bool { return strings.HasPrefix(f.ID, "reset-") }

// account reports whether one of the others is about all the connections of a finding.
func (x endings) account(f decoder.Finding) bool {
	switch {
	case f.ID == "connection-refused":
		return x.refused.explain(f)
	case strings.HasPrefix(f.ID, "dns-"):
		return !slices.ContainsFunc(f.Traffic, func(t decoder.Traffic) bool { return !t.Reset() }) && x.resets.explain(f)
	}
	return false
}

// joined leaves out the findings that others account for, but those that are reported already, and adds to the others what
// they say.
func (x *Together) joined(found []decoder.Finding) []decoder.Finding {
	var left []decoder.Finding
	endings := endingsOf(found)
	found = slices.DeleteFunc(found, func(f decoder.Finding) bool {
		out := !x.reported[f.Key()] && endings.account(f)
		if out {
			left = append(left, f)
		}
		return out
	})
	for _, f := range left {
		join(found, f)
	}
	return found
}

// join adds what a finding says that is left out to those that account for it.
func join(found []decoder.Finding, left decoder.Finding) {
	for i := range found {
		f := &found[i]
		if left.ID == "connection-refused" && f.ID != "dns-server-refused" || left.ID != "connection-refused" && !ofReset(*f) {
			continue
		}
		c := causes{}
		if c.add(*f); !slices.ContainsFunc(left.Traffic, c.met) {
			continue
		}
		f.Evidence = append(append(slices.Clone(f.Evidence), left.Title), left.Evidence...)
		if left.Severity.AtLeast(f.Severity) {
			f.Severity = left.Severity
		}
	}
}
