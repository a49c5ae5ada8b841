// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// Inhibitor runs rules about the same packets. A finding that the cause found by another rule explains is inhibited. It
// reports at the end; a finding that nothing can inhibit any more it reports early as well.
type Inhibitor struct {
	state    *State
	levels   [][]stage.Rule
	found    []event.Folder // by level
	waiting  []candidate
	reported map[event.CauseKey]bool // early
}

// NewInhibitor returns it. Findings of one level inhibit those of later levels: the first level sees packets, the last
// sees what became of transactions and connections.
func NewInhibitor(state *State, levels ...[]stage.Rule) *Inhibitor {
	return &Inhibitor{state: state, levels: levels, found: make([]event.Folder, len(levels)), reported: map[event.CauseKey]bool{}}
}

// Rules returns the rules themselves, for a caller that cannot wait for the end.
func (x *Inhibitor) Rules() []stage.Rule { return slices.Concat(x.levels...) }

// Observe implements stage.Rule.
func (x *Inhibitor) Observe(e event.Event) []event.Finding {
	x.each(func(r stage.Rule) []event.Finding { return r.Observe(e) })
	return nil
}

// Flush implements stage.Rule.
func (x *Inhibitor) Flush(now time.Time, final bool) []event.Finding {
	x.each(func(r stage.Rule) []event.Finding { return r.Flush(now, final) })
	if !final {
		return x.early(now)
	}
	var found []event.Finding
	causes := causes{}
	for i := range x.found {
		level := slices.DeleteFunc(x.found[i].All(), func(f event.Finding) bool { return !x.reported[f.Key()] && causes.explains(f) })
		for _, f := range level {
			causes.add(f)
		}
		found = append(found, level...)
	}
	found = slices.DeleteFunc(found, func(f event.Finding) bool { return behindBlockedTunnel(f, found) })
	return x.mergeInhibited(found)
}

// each calls every rule and folds its findings in.
func (x *Inhibitor) each(ask func(stage.Rule) []event.Finding) {
	for i, rules := range x.levels {
		for _, r := range rules {
			for _, f := range ask(r) {
				if x.found[i].Add(f) {
					x.wait(i, f)
				}
			}
		}
	}
}

// behindBlockedTunnel reports whether a finding is about a neighbour at the other end of a tunnel while overlay-blocked
// is found: the tunnel explains it. With several tunnels it is not known which one leads to the neighbour.
func behindBlockedTunnel(f event.Finding, found []event.Finding) bool {
	return f.ID == "neighbour-failed" && f.About.Tunnel && slices.ContainsFunc(found, func(x event.Finding) bool {
		return x.ID == "overlay-blocked"
	})
}

// causes are the traffic of the findings that are causes, by the server's address.
type causes map[netip.Addr][]event.Traffic

// add takes in a cause. Information explains nothing.
func (c causes) add(f event.Finding) {
	if f.Severity == event.Info {
		return
	}
	for _, t := range f.Traffic {
		for i, s := range t.Servers {
			same := func(earlier netip.AddrPort) bool { return earlier.Addr() == s.Addr() }
			if !slices.ContainsFunc(t.Servers[:i], same) {
				c[s.Addr()] = append(c[s.Addr()], t)
			}
		}
	}
}

// explains reports whether the causes explain all traffic of a finding: they hit the same client on its path to the same
// server at that time.
func (c causes) explains(f event.Finding) bool {
	return len(f.Traffic) > 0 && !slices.ContainsFunc(f.Traffic, func(t event.Traffic) bool { return !c.met(t) })
}

// met reports whether one of the causes hit traffic.
func (c causes) met(t event.Traffic) bool {
	return slices.ContainsFunc(t.Servers, func(s netip.AddrPort) bool {
		return slices.ContainsFunc(c[s.Addr()], t.Meets)
	})
}
