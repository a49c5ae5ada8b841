// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
)

// Sets are what the kernel filters by.
type Sets struct {
	Cgroups map[uint64]bool
	Netns   map[uint32]bool
	Addrs   map[netip.Addr]bool
}

// Sets returns what a selection means now. Cgroups of what ended stay as long as it is remembered: sockets outlive
// their tasks.
func (x *Index) Sets(s Selector) Sets {
	sets := Sets{Cgroups: map[uint64]bool{}, Netns: map[uint32]bool{}, Addrs: map[netip.Addr]bool{}}
	for _, l := range s.places {
		if l.Cgroup != 0 {
			sets.Cgroups[l.Cgroup] = true
		}
		if l.Netns != 0 {
			sets.Netns[l.Netns] = true
		}
		for _, a := range l.Addrs {
			sets.Addrs[a] = true
		}
	}
	for _, p := range x.pods {
		if !s.Matches(*p) {
			continue
		}
		sets.add(s, p)
	}
	return sets
}

func (sets Sets) add(s Selector, p *Info) {
	if s.container == "" {
		for _, id := range p.Cgroups {
			sets.Cgroups[id] = true
		}
	}
	for _, c := range p.Containers {
		for _, id := range c.Cgroups {
			if s.matchesContainer(c) {
				sets.Cgroups[id] = true
			}
		}
	}
	if p.Netns != 0 {
		sets.Netns[p.Netns] = true
	}
	for _, a := range p.Addrs {
		sets.Addrs[a] = true
	}
}
