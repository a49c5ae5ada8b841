// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// Two rules see a connection that is reset while a query waits on it: one names the sender of the reset, the other the server
// that does not answer. They are one finding, the deeper cause: a process that resets connections, or a DNS server that does
// not listen.

// inhibitors are the findings that inhibit others about the same connections, of whatever level.
type inhibitors struct {
	resets  causes // that left queries without an answer
	refused causes // DNS servers that do not listen
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

// isReset reports whether a finding names the sender of resets of established connections.
func isReset(f event.Finding) bool { return strings.HasPrefix(f.ID, "reset-") }

// inhibits reports whether one of the others explains all connections of a finding.
func (x inhibitors) inhibits(f event.Finding) bool {
	switch {
	case f.ID == "connection-refused":
		return x.refused.explains(f)
	case strings.HasPrefix(f.ID, "dns-"):
		return !slices.ContainsFunc(f.Traffic, func(t event.Traffic) bool { return !t.Reset() }) && x.resets.explains(f)
	}
	return false
}

// mergeInhibited removes the findings that are inhibited, unless they were reported early, and adds their evidence to
// those that inhibit them.
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
		x.mergeInto(found, f)
	}
	return found
}

// mergeInto adds the evidence and severity of an inhibited finding to those that inhibit it.
func (x *Inhibitor) mergeInto(found []event.Finding, left event.Finding) {
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
			f.Severity = x.state.severity(f.ID, left.Severity)
		}
	}
}
