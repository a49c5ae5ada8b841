package decoder

import (
	"net/netip"
	"testing"
	"time"
)

// TestWhatAPodRefusedIsOverWhenItHasEnded: not if it only lost its address, nor if it was another's.
func TestWhatAPodRefusedIsOverWhenItHasEnded(t *testing.T) {
	addr := netip.MustParseAddrPort(courseServer).Addr()
	has := func(uid string) PodFact {
		return PodFact{UID: uid, Source: "netns", Netns: 7, Addrs: []netip.Addr{addr}}
	}
	lost := PodFact{UID: "a", Source: "netns", Addrs: []netip.Addr{addr}, Gone: true}
	ended := func(uid string) PodFact { return PodFact{UID: uid, Source: "cgroup", Gone: true} }
	container := PodFact{UID: "a", Source: "cgroup", Containers: []ContainerFact{{ID: "c"}}, Gone: true}
	for _, c := range []struct {
		name          string
		id            string
		before, after []PodFact // it failed
		late          bool      // it failed again behind all
		over          bool
	}{
		{name: "it ended", before: []PodFact{has("a")}, after: []PodFact{container, lost, ended("a")}, over: true},
		{name: "its container ended", before: []PodFact{has("a")}, after: []PodFact{container}},
		{name: "it lost its address", before: []PodFact{has("a")}, after: []PodFact{lost}},
		{name: "another has the address since", before: []PodFact{has("a"), lost, has("b")}, after: []PodFact{ended("a")}},
		{name: "the one that has the address now", before: []PodFact{has("a"), lost, has("b")}, after: []PodFact{ended("b")}, over: true},
		{name: "before it failed", before: []PodFact{has("a"), ended("a")}},
		{name: "and it fails again", before: []PodFact{has("a")}, after: []PodFact{ended("a")}, late: true},
		{name: "no fault of a pod's", id: "netfilter-drop", before: []PodFact{has("a")}, after: []PodFact{ended("a")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := course{proto: "tcp", id: c.id, sure: Certain}
			if x.id == "" {
				x.id = "connection-refused"
			}
			learn := func(facts []PodFact) {
				for _, f := range facts {
					x.now = x.now.Add(time.Second)
					x.works.observe(Event{Header: Header{Time: x.now}, Body: Fact{Pod: &f}})
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
			x.works.settle(&x.folder, x.now.Add(2*time.Second), true)
			f := x.folder.All()[0]
			if f.Ended != c.over || (f.Severity == Info) != c.over || f.Over.IsZero() == c.over {
				t.Errorf("%s, ended %v, over %v, want %v", f.Severity, f.Ended, f.Over, c.over)
			}
		})
	}
}
