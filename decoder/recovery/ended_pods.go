// SPDX-License-Identifier: Apache-2.0

package recovery

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// endedPods are pods that ended, by the addresses that they had until then.
type endedPods struct {
	had   bounded.Map[string, []netip.Addr] // by the pod's UID
	whose bounded.Map[netip.Addr, string]   // the UID of who has it, or had it last
	ended bounded.Map[netip.Addr, time.Time]
}

// learn takes in what is reported of a pod. One that lost its address only has not ended.
func (p *endedPods) learn(now time.Time, f event.PodFact) {
	had, _ := p.had.Get(f.UID)
	if f.At != 0 {
		now = time.Unix(0, int64(f.At)).UTC()
	}
	switch {
	case !f.Gone:
		for _, a := range f.Addrs {
			a = a.Unmap()
			p.whose.Put(a, f.UID)
			if !slices.Contains(had, a) {
				had = append(had, a)
			}
		}
		if len(f.Addrs) > 0 {
			p.had.Put(f.UID, had)
		}
	case f.Netns == 0 && len(f.Addrs) == 0 && len(f.Containers) == 0:
		for _, a := range had {
			if uid, _ := p.whose.Get(a); uid == f.UID {
				p.ended.Put(a, now)
			}
		}
		p.had.Delete(f.UID)
	}
}

// since is when the last of the pods ended whose fault a finding is; zero if one has not since it failed, or if pods that
// take its place may fail the same way.
func (p *endedPods) since(f event.Finding) (last time.Time) {
	if !slices.Contains([]string{"connection-refused", "accept-queue-full", "socket-buffer-full"}, f.ID) {
		return time.Time{}
	}
	for _, t := range f.Traffic {
		at := p.of(t)
		if at.Before(t.Last) {
			return time.Time{}
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// of is when the pod that served ended. Of the addresses that a server has on the way only the pod's own is a pod's.
func (p *endedPods) of(t event.Traffic) time.Time {
	for _, server := range t.Servers {
		if at, ok := p.ended.Get(server.Addr()); ok {
			return at
		}
	}
	return time.Time{}
}
