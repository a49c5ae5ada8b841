package diagnose

import (
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// A connection that is reset while a query waits on it is seen by two rules: one says who reset it, and the other which
// server does not answer. Where both speak of the same they are one finding, the deeper: a process that resets connections,
// or a DNS server that is not there.

// inhibitors are the findings that account for others about the same connections.
type inhibitors struct {
	resets  causes // of queries that have no answer for them
	refused causes // DNS servers, of connections that are refused
}

func inhibitorsOf(found []event.Finding) inhibitors {
	all := inhibitors{causes{}, causes{}}
	for _, f := range found {
		switch {
		case f.ID == "dns-server-refused":
			all.refused.add(f)
		case isReset(f):
			all.resets.add(f)
		}
	}
	return all
}

// isReset reports whether a finding says who, or what, reset connections that were in use.
func isReset(f event.Finding) bool { return strings.HasPrefix(f.ID, "reset-") }

// inhibits reports whether one of the others is about all the connections of a finding.
func (x inhibitors) inhibits(f event.Finding) bool {
	switch {
	case f.ID == "connection-refused":
		return x.refused.explains(f)
	case strings.HasPrefix(f.ID, "dns-"):
		return !slices.ContainsFunc(f.Traffic, func(t event.Traffic) bool { return !t.Reset() }) && x.resets.explains(f)
	}
	return false
}

// mergeInhibited leaves out the findings that others account for, but those that are reported already, and adds to the others what
// they say.
func (x *Inhibitor) mergeInhibited(found []event.Finding) []event.Finding {
	var left []event.Finding
	endings := inhibitorsOf(found)
	found = slices.DeleteFunc(found, func(f event.Finding) bool {
		out := !x.reported[f.Key()] && endings.inhibits(f)
		if out {
			left = append(left, f)
		}
		return out
	})
	for _, f := range left {
		mergeInto(found, f)
	}
	return found
}

// mergeInto adds what a finding says that is left out to those that account for it.
func mergeInto(found []event.Finding, left event.Finding) {
	for i := range found {
		f := &found[i]
		if left.ID == "connection-refused" && f.ID != "dns-server-refused" || left.ID != "connection-refused" && !isReset(*f) {
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
