// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// learn takes in what a fact says of the node.
func (x *Index) learn(now time.Time, f event.Fact) {
	switch {
	case f.Identity != nil:
		if inode, replaced := f.ReplacedNetns(); replaced {
			x.endNetns(now, inode)
		}
	case f.Node != nil:
		x.node = *f.Node
	case f.Counts != nil:
		x.learnRefused(now, f.Counts.Refused)
	case f.Pod != nil && f.Pod.Gone:
		x.forget(now, *f.Pod)
	case f.Pod != nil:
		x.learnPod(now, *f.Pod)
	case f.Service != nil:
		x.services.learn(*f.Service)
	case f.Device != nil:
		x.learnDevice(*f.Device)
	}
}

// endNetns notes that the namespace that had an inode number is gone, whatever else is known of its pod.
func (x *Index) endNetns(now time.Time, inode uint32) {
	for _, s := range x.netns[inode] {
		x.netns[inode].end(s.pod, now.Add(-1))
		if s.pod.Netns == inode {
			s.pod.Netns = 0
		}
	}
	maps.DeleteFunc(x.veths, func(near, far place) bool { return near.netns == inode || far.netns == inode })
	x.devices.DeleteFunc(func(at place) bool { return at.netns == inode })
}

func (x *Index) learnPod(now time.Time, f event.PodFact) {
	p := x.pods[f.UID]
	if x.size > maxPods || p != nil && p.size > maxPod {
		x.leftOut++
		return
	}
	defer func() { x.weigh(p) }()
	if p == nil {
		// Facts before the first record were so when the stream began.
		p = &Info{UID: f.UID, Static: static(f.UID), Sources: map[string]string{}}
		if x.begun {
			p.since = now
		}
		x.pods[f.UID] = p
	}
	p.ended = time.Time{}
	if f.Name != "" && Better(f.Source, p.Sources["name"]) {
		p.Namespace, p.Name, p.Sources["name"] = f.Namespace, f.Name, f.Source
	}
	if f.Labels != nil {
		p.Labels, p.Sources["labels"] = f.Labels, f.Source
	}
	if f.HostNetwork {
		p.HostNetwork, p.Sources["host_network"] = true, f.Source
	}
	p.Node = cmp.Or(f.Node, p.Node)
	for _, id := range f.Cgroups {
		p.Cgroups = x.own(p.Cgroups, id, owner{pod: p})
	}
	x.learnNetwork(now, p, f)
	for _, c := range f.Containers {
		x.learnContainer(p, f.Source, c)
	}
}

// Bounds of what is known of pods, bytes: what more there is has no name. Pods that ended are forgotten after a while.
const (
	maxPods  = 24 << 20 // of all: a pod takes one or two thousand
	maxPod   = 1 << 20
	maxSpans = 64 // pods that had an address or a namespace
)

// weigh counts what a pod takes now.
func (x *Index) weigh(p *Info) {
	const indexed = 400 // by its namespace, addresses and control groups
	size := bounded.SizeOf(*p) + indexed*(2+len(p.Addrs)+len(p.Cgroups)+2*len(p.Containers))
	x.size += size - p.size
	p.size = size
}

func (x *Index) learnContainer(p *Info, source string, f event.ContainerFact) {
	c := p.container(f.ID)
	c.Gone = false
	c.Sandbox = c.Sandbox || f.Sandbox
	if (f.Name != "" || f.Sandbox) && Better(source, c.Source) {
		c.Name, c.Source = f.Name, source
	}
	for _, id := range f.Cgroups {
		c.Cgroups = x.own(c.Cgroups, id, owner{pod: p, container: c})
	}
}

// own notes whose a cgroup is. Its id is never used again.
func (x *Index) own(ids []uint64, id uint64, o owner) []uint64 {
	x.cgroups[id] = o
	if slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}

// learnNetwork notes namespace and addresses. They can have been another's until the pod was first heard of, or had
// them anew.
func (x *Index) learnNetwork(now time.Time, p *Info, f event.PodFact) {
	from := x.when(f, p.since)
	if p.Netns != 0 && f.Netns != 0 && p.Netns != f.Netns {
		x.netns[p.Netns].end(p, x.when(f, now))
		from = x.when(f, now)
	}
	if f.Netns != 0 && f.Netns != x.node.Netns {
		x.netns[f.Netns] = x.netns[f.Netns].begin(p, f.Source, from)
		p.Netns, p.Sources["netns"] = f.Netns, f.Source
	}
	for _, a := range f.Addrs {
		a = a.Unmap()
		if x.addrs[a].heldBy(p) || !x.contest(now, p, f, a) {
			continue
		}
		x.addrs[a] = x.addrs[a].begin(p, f.Source, from)
		p.Sources["addrs"] = f.Source
		if !slices.Contains(p.Addrs, a) {
			p.Addrs = append(p.Addrs, a)
		}
	}
}

// when is the time that a fact gives, else another.
func (x *Index) when(f event.PodFact, otherwise time.Time) time.Time {
	if f.At == 0 {
		return otherwise
	}
	return time.Unix(0, int64(f.At)).UTC()
}

// forget notes what ended.
func (x *Index) forget(now time.Time, f event.PodFact) {
	p := x.pods[f.UID]
	if p == nil {
		return
	}
	now = x.when(f, now)
	if f.Netns == 0 && len(f.Addrs) == 0 && len(f.Containers) == 0 {
		f.Netns, f.Addrs = p.Netns, slices.Clone(p.Addrs)
		for _, c := range p.Containers {
			x.leave(now, c.Cgroups)
			c.Gone = true
		}
		x.leave(now, p.Cgroups)
		p.ended = now
	}
	x.netns[f.Netns].end(p, now)
	maps.DeleteFunc(x.veths, func(near, far place) bool { return f.Netns != 0 && (near.netns == f.Netns || far.netns == f.Netns) })
	if f.Netns == p.Netns {
		p.Netns = 0
	}
	for _, a := range f.Addrs {
		x.addrs[a.Unmap()].end(p, now)
	}
	p.Addrs = slices.DeleteFunc(slices.Clone(p.Addrs), func(a netip.Addr) bool { return slices.Contains(f.Addrs, a) })
	for _, c := range f.Containers {
		if x.leave(now, c.Cgroups); len(c.Cgroups) > 0 {
			continue
		}
		gone := p.container(c.ID)
		x.leave(now, gone.Cgroups)
		gone.Gone = true
	}
	if f.Netns != 0 || len(f.Addrs) > 0 {
		p.since = now // what it gets next can have been another's until now
	}
}

func (x *Index) leave(now time.Time, cgroups []uint64) {
	for _, id := range cgroups {
		x.left[id] = now
	}
}

// learnDevice notes both ends of a veth.
func (x *Index) learnDevice(d event.Device) {
	near, far := place{d.Netns, d.Ifindex}, place{d.PeerNetns, d.PeerIndex}
	x.devices.Put(bounded.Owner{Netns: d.Netns}, near, d.Addrs)
	if d.Gone {
		x.devices.Delete(near)
		delete(x.veths, x.veths[near])
		delete(x.veths, near)
		return
	}
	if _, known := x.veths[near]; far.netns != 0 && far.ifindex != 0 && (known || len(x.veths) < 2*bounded.MapSize) {
		x.veths[near], x.veths[far] = far, near
	}
}
