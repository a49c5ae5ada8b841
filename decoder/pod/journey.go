// SPDX-License-Identifier: Apache-2.0

package pod

import "ktrace/decoder/event"

// follow names the sender of a packet that has another's address by now: the node's, if it was masqueraded, or one that
// no source reported in time. p is the pod of the place where it was seen, nil if it has none.
func (x *Index) follow(e *event.Event, sender *event.Pod, p *Info) {
	known, _ := x.senders.Get(e.Journey)
	forger, forged := x.forgers.Get(e.Journey)
	switch {
	case forged && known.UID == "" && p == nil: // and the address names another pod
		*sender = forger
		sender.Source = sourceJourney
	case sender.UID == "" && sender.Service == "" && known.UID != "":
		*sender = known
		sender.Source = sourceJourney
	case e.Journey != 0 && sender.UID != "" && known.UID == "" && (p == nil || sender.UID != p.UID || x.sentItself(e, p)):
		x.senders.Put(e.Journey, *sender)
	}
}

// sentItself reports whether a packet on its way from a pod is its own, and not one that it passes on for others.
func (x *Index) sentItself(e *event.Event, p *Info) bool {
	return e.Pod.Source == sourceCgroup || len(p.Addrs) == 0 || x.addrs[e.Packet.Src.Unmap()].heldBy(p)
}
