// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// Owns reports whether an address is known to be one of a network namespace: its pod's, or else one that its devices have and no pod
// elsewhere. A namespace can give itself any address.
func (x *Index) Owns(netns uint32, a netip.Addr, t time.Time) bool {
	if holder, known := x.holder(a, t); known {
		return holder == netns
	}
	a = a.Unmap()
	for at, addrs := range x.devices.All() {
		if at.netns == netns && slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Unmap() == a }) {
			return true
		}
	}
	return false
}

// OwnedElsewhere reports whether an address is that of a pod in another network namespace.
func (x *Index) OwnedElsewhere(netns uint32, a netip.Addr, t time.Time) bool {
	holder, known := x.holder(a, t)
	return known && holder != netns
}

// holder is the network namespace of the pod that has an address. It is not known while several have claimed it.
func (x *Index) holder(a netip.Addr, t time.Time) (netns uint32, known bool) {
	a = a.Unmap()
	if since, contested := x.contested.Get(a); contested && t.Sub(since).Abs() < keep {
		return 0, false
	}
	s, ok := x.addrs[a].at(t)
	if !ok || s.pod.Netns == 0 {
		return 0, false
	}
	return s.pod.Netns, true
}

// contest notes that a pod claims an address that another has, and reports whether the claim is to be believed: not the word of its
// own namespace against the runtime's or the API's.
func (x *Index) contest(now time.Time, p *Info, f event.PodFact, a netip.Addr) bool {
	all := x.addrs[a]
	if len(all) == 0 || all[len(all)-1].pod == p || !all[len(all)-1].to.IsZero() {
		return true
	}
	held := all[len(all)-1]
	if f.Source == sourceNetns && held.source != sourceNetns {
		return false
	}
	if f.Source == sourceNetns && held.pod.ended.IsZero() {
		x.contested.Put(a, now)
	}
	return true
}

// handmade names the sender of a packet that a program made: it is who has the socket, whatever the addresses say.
func (x *Index) handmade(e *event.Event) {
	h, ok := e.Body.(event.Hop)
	if !ok || !h.Handmade || h.SocketNetns == 0 {
		return
	}
	sender := &e.Pod
	if e.ToPod {
		sender = &e.Peer
	}
	if s, ok := x.inNetns(h.SocketNetns, e.Time); ok {
		*sender = s.pod.end(nil, sourceNetns)
	} else if sender.Source != sourceCgroup {
		*sender = event.Pod{}
	}
}
