// SPDX-License-Identifier: Apache-2.0

package recovery

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
)

// TestWhatAPodRefusedIsOverWhenItHasEnded: not if it only lost its address, nor if it was another's.
func TestWhatAPodRefusedIsOverWhenItHasEnded(t *testing.T) {
	addr := netip.MustParseAddrPort(courseServer).Addr()
	has := func(uid string) event.PodFact {
		return event.PodFact{UID: uid, Source: "netns", Netns: 7, Addrs: []netip.Addr{addr}}
	}
	lost := event.PodFact{UID: "a", Source: "netns", Addrs: []netip.Addr{addr}, Gone: true}
	ended := func(uid string) event.PodFact { return event.PodFact{UID: uid, Source: "cgroup", Gone: true} }
	container := event.PodFact{UID: "a", Source: "cgroup", Containers: []event.ContainerFact{{ID: "c"}}, Gone: true}
	for _, c := range []struct {
		name          string
		id            string
		before, after []event.PodFact // it failed
		late          bool            // it failed again behind all
		over          bool
	}{
		{name: "it ended", before: []event.PodFact{has("a")}, after: []event.PodFact{container, lost, ended("a")}, over: true},
		{name: "its container ended", before: []event.PodFact{has("a")}, after: []event.PodFact{container}},
		{name: "it lost its address", before: []event.PodFact{has("a")}, after: []event.PodFact{lost}},
		{name: "another has the address since", before: []event.PodFact{has("a"), lost, has("b")}, after: []event.PodFact{ended("a")}},
		{name: "the one that has the address now", before: []event.PodFact{has("a"), lost, has("b")}, after: []event.PodFact{ended("b")}, over: true},
		{name: "before it failed", before: []event.PodFact{has("a"), ended("a")}},
		{name: "and it fails again", before: []event.PodFact{has("a")}, after: []event.PodFact{ended("a")}, late: true},
		{name: "no fault of a pod's", id: "netfilter-drop", before: []event.PodFact{has("a")}, after: []event.PodFact{ended("a")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := course{proto: "tcp", id: c.id, sure: event.Certain}
			if x.id == "" {
				x.id = "connection-refused"
			}
			learn := func(facts []event.PodFact) {
				for _, f := range facts {
					x.now = x.now.Add(time.Second)
					x.works.Observe(event.Event{Header: event.Header{Time: x.now}, Body: event.Fact{Pod: &f}})
				}
			}
			x.now = time.Unix(1000, 0)
			learn(c.before)
			x.now = x.now.Add(time.Second)
			x.fail()
			learn(c.after)
			if c.late {
				x.now = x.now.Add(time.Second)
				x.fail()
			}
			x.works.Settle(&x.folder, x.now.Add(2*time.Second), true)
			f := x.folder.All()[0]
			if f.Ended != c.over || (f.Severity == event.Info) != c.over || f.Over.IsZero() == c.over {
				t.Errorf("%s, ended %v, over %v, want %v", f.Severity, f.Ended, f.Over, c.over)
			}
		})
	}
}
