// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// Index knows the pods of a stream. As a stage, which must come first, it names both ends of every event.
type Index struct {
	node      event.Node
	pods      map[string]*Info
	cgroups   map[uint64]owner
	left      map[uint64]time.Time // cgroups that are no more, and since when
	netns     map[uint32]spans
	addrs     map[netip.Addr]spans
	veths     map[place]place                        // from each end to the other
	devices   bounded.Weighed[place, []netip.Prefix] // their addresses
	contested bounded.Map[netip.Addr, time.Time]     // addresses that several pods claim, and since when
	services  services
	size      int    // bytes of pods
	leftOut   uint64 // pods that there was no room for
	begun     bool   // a record was seen: facts from here on are changes
	swept     time.Time
	only      event.Single
	chosen    bounded.Map[uint64, bool]      // journeys of packets that were selected
	senders   bounded.Map[uint64, event.Pod] // who sent them
	forgers   bounded.Map[uint64, event.Pod] // who sent them with the address of another pod
	refused   bounded.Map[refusedKey, refusedTo]
}

type owner struct {
	pod       *Info
	container *Container // nil for the pod's own cgroup
}

// place is a device in a namespace.
type place struct{ netns, ifindex uint32 }

// NewIndex returns an index that knows nothing yet.
func NewIndex() *Index {
	return &Index{
		pods:     map[string]*Info{},
		cgroups:  map[uint64]owner{},
		left:     map[uint64]time.Time{},
		netns:    map[uint32]spans{},
		addrs:    map[netip.Addr]spans{},
		veths:    map[place]place{},
		services: newServices(),
	}
}

// Observe implements stage.Stage.
func (x *Index) Observe(e event.Event) []event.Event {
	if f, ok := e.Body.(event.Fact); ok {
		x.learn(e.Time, f)
	} else {
		x.begun = true
		x.name(&e)
		x.handmade(&e)
	}
	return x.only.Event(e)
}

// Flush implements stage.Stage: it lets go of what ended long ago.
func (x *Index) Flush(now time.Time, _ bool) []event.Event {
	if now.Sub(x.swept) < keep {
		return nil
	}
	x.swept = now
	limit := now.Add(-keep)
	sweep(x.netns, limit)
	sweep(x.addrs, limit)
	for id, t := range x.left {
		if t.Before(limit) {
			delete(x.left, id)
			x.disown(id)
		}
	}
	for uid, p := range x.pods {
		if !p.ended.IsZero() && p.ended.Before(limit) {
			delete(x.pods, uid)
			x.size -= p.size
		}
	}
	return nil
}

// disown forgets a cgroup, and its container with its last.
func (x *Index) disown(id uint64) {
	o := x.cgroups[id]
	delete(x.cgroups, id)
	if o.container == nil {
		o.pod.Cgroups = without(o.pod.Cgroups, id)
		return
	}
	o.container.Cgroups = without(o.container.Cgroups, id)
	o.pod.Containers = slices.DeleteFunc(slices.Clone(o.pod.Containers), func(c *Container) bool { return c.Gone && len(c.Cgroups) == 0 })
}

func without(ids []uint64, id uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(ids), func(x uint64) bool { return x == id })
}

func sweep[K comparable](m map[K]spans, limit time.Time) {
	for k, s := range m {
		if m[k] = s.since(limit); len(m[k]) == 0 {
			delete(m, k)
		}
	}
}

// Pods returns what is known of the pods that live, by namespace and name.
func (x *Index) Pods() []Info {
	all := make([]Info, 0, len(x.pods))
	veths := x.nodeVeths()
	for _, p := range x.pods {
		if !p.ended.IsZero() {
			continue
		}
		i := *p
		i.Veth = veths[p.Netns]
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return all
}

// nodeVeths returns the node's ends of the devices of other namespaces, by namespace.
func (x *Index) nodeVeths() map[uint32]uint32 {
	ends := map[uint32]uint32{}
	for near, far := range x.veths {
		if near.netns == x.node.Netns && far.netns != 0 {
			ends[far.netns] = near.ifindex
		}
	}
	return ends
}

// Pod returns what is known of the pod with that UID.
func (x *Index) Pod(uid string) (Info, bool) {
	p := x.pods[uid]
	if p == nil {
		return Info{}, false
	}
	return *p, true
}

// Whose names the owner of a network namespace at that time, "" if unknown.
func (x *Index) Whose(netns uint32, at time.Time) string {
	if netns == x.node.Netns && netns != 0 {
		return "node " + x.node.Name + "'s own"
	}
	if s, ok := x.inNetns(netns, at); ok && s.pod.Name != "" {
		return "pod " + s.pod.Namespace + "/" + s.pod.Name + "'s"
	}
	return ""
}

// Of returns the pod and container of a cgroup, zero if unknown.
func (x *Index) Of(cgroup uint64) event.Pod {
	if o, ok := x.cgroups[cgroup]; ok && cgroup != 0 {
		return o.pod.end(o.container, sourceCgroup)
	}
	return event.Pod{}
}

// Owner returns whose a cgroup is: the pod's UID, and the container's id unless it is the pod's own. ok is false if
// unknown.
func (x *Index) Owner(cgroup uint64) (uid, container string, ok bool) {
	o, ok := x.cgroups[cgroup]
	if !ok {
		return "", "", false
	}
	if o.container != nil {
		container = o.container.ID
	}
	return o.pod.UID, container, true
}
