// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// programsFor are the programs and filters that may have dropped a packet: those at its device, in its direction if the drop
// shows that, or those of its socket's control group.
func (st *State) programsFor(e event.Event, d event.Drop) []event.Program {
	var all []event.Program
	for key, p := range st.programs.All() {
		here := key.netns == e.Netns && key.ifindex == e.Ifindex
		if p.Cgroup != 0 {
			here = p.Cgroup == e.Cgroup
		}
		if here && passes(d, p) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b event.Program) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.ID, b.ID)) })
	return all
}

// passes reports whether packets that are dropped so have passed the place of a program.
func passes(d event.Drop, p event.Program) bool {
	switch at := d.ByCgroup(); {
	case at != "" || p.Cgroup != 0:
		return p.At == at
	case d.ByXDP() || p.At == "xdp":
		return d.ByXDP() && p.At == "xdp"
	case d.Reason == "TC_INGRESS":
		return strings.HasSuffix(p.At, "ingress")
	case d.Reason == "TC_EGRESS":
		return !strings.HasSuffix(p.At, "ingress")
	}
	return true
}

// onlyProgram is the only program that may have dropped a packet; ok is false if none is known, or several are.
func (st *State) onlyProgram(e event.Event, d event.Drop) (p event.Program, ok bool) {
	all := st.programsFor(e, d)
	if len(all) != 1 {
		return p, false
	}
	return all[0], true
}

// programInTitle is how a sentence names a program.
func programInTitle(p event.Program) string {
	if p.ID == 0 {
		return fmt.Sprintf(" (%s at %s)", p.Name, p.At)
	}
	return fmt.Sprintf(" (%s)", p.Title())
}
