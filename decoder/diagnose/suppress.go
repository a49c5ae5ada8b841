package diagnose

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/event"
)

// Inhibitor runs rules about the same packets, and reports what one of them concludes from the consequences of another's
// cause only if there is no such cause. It reports at the end; what nothing can take back it reports early, too.
type Inhibitor struct {
	levels   [][]decoder.Rule
	found    []event.Folder // by level
	waiting  []candidate
	reported map[event.CauseKey]bool // early
}

// NewInhibitor returns it. What the rules of a level conclude may be a consequence of what those of an earlier one do: the
// first see the packets themselves, the last what became of transactions and connections.
func NewInhibitor(levels ...[]decoder.Rule) *Inhibitor {
	return &Inhibitor{levels: levels, found: make([]event.Folder, len(levels)), reported: map[event.CauseKey]bool{}}
}

// Rules returns the rules themselves, for who cannot wait for the end.
func (x *Inhibitor) Rules() []decoder.Rule { return slices.Concat(x.levels...) }

// Observe implements decoder.Rule.
func (x *Inhibitor) Observe(e event.Event) []event.Finding {
	x.each(func(r decoder.Rule) []event.Finding { return r.Observe(e) })
	return nil
}

// Flush implements decoder.Rule.
func (x *Inhibitor) Flush(now time.Time, final bool) []event.Finding {
	x.each(func(r decoder.Rule) []event.Finding { return r.Flush(now, final) })
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

// each folds in what the rules find.
func (x *Inhibitor) each(ask func(decoder.Rule) []event.Finding) {
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

// behindBlockedTunnel reports whether a finding is about a neighbour at the other end of a tunnel, and a tunnel is found not to
// pass: that is all there is to say. Which of several it is shows nowhere, for the far end may be all that shows it.
func behindBlockedTunnel(f event.Finding, found []event.Finding) bool {
	return f.ID == "neighbour-failed" && f.About.Tunnel && slices.ContainsFunc(found, func(x event.Finding) bool {
		return x.ID == "overlay-blocked"
	})
}

// causes are what was met by the causes that are found, by the address of the server.
type causes map[netip.Addr][]event.Traffic

// add takes in a cause. One that is only information accounts for nothing.
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

// explains reports whether the causes account for all that a finding is about: they met the same client on its way to the
// same server while it went on.
func (c causes) explains(f event.Finding) bool {
	return len(f.Traffic) > 0 && !slices.ContainsFunc(f.Traffic, func(t event.Traffic) bool { return !c.met(t) })
}

// met reports whether traffic met one of the causes.
func (c causes) met(t event.Traffic) bool {
	return slices.ContainsFunc(t.Servers, func(s netip.AddrPort) bool {
		return slices.ContainsFunc(c[s.Addr()], t.Meets)
	})
}
