// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// Owns reports whether an address is known to be one of a network namespace: its pod's, by the runtime or the API, or else one that
// its devices have and no pod elsewhere. A namespace can give itself any address.
func (x *Index) Owns(netns uint32, a netip.Addr, t time.Time) bool {
	a = a.Unmap()
	if s, ok := x.addrs[a].at(t); ok && s.pod.Netns != 0 {
		return s.pod.Netns == netns
	}
	for at, addrs := range x.devices.All() {
		if at.netns == netns && slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Unmap() == a }) {
			return true
		}
	}
	return false
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
