// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// benignDrop says why a packet that a rule dropped is no loss here, "" if it may be one: the Internet tries every port
// of a node, and what is closed anyway is none the worse for a rule before it; a scan does so with pods.
func (st *State) benignDrop(e event.Event, d event.Drop) string {
	const nodePorts, lastNodePort = 30000, 32767 // which translation serves, and no socket
	p := e.Packet
	s, asked := st.sockets.Get(event.KeyOf(e))
	if why := st.scanned(e, d); why != "" {
		return why
	}
	switch {
	case e.Pod.UID != "" || e.Peer.UID != "" || d.Conntrack.DNAT():
		return ""
	case opens(p) && asked && !s.Found && (p.Dport < nodePorts || p.Dport > lastNodePort):
		if _, known := st.ServiceAt(e.Netns, p.Proto, p.Destination()); !known {
			return fmt.Sprintf("nothing listens at %v, and no pod sent it: without the rule it would have been refused", p.Destination())
		}
	}
	return ""
}

// pings are the hosts that are pinged and do not answer.
type pings map[netip.Addr]map[netip.Addr]bool

// learn takes in a drop.
func (all pings) learn(e event.Event) {
	if d, ok := e.Body.(event.Drop); !ok || e.Packet == nil || d.Noise != "" || !isProbe(e.Packet) {
		return
	}
	if all[e.Packet.Src] == nil {
		if len(all) >= maxProbers {
			clear(all)
		}
		all[e.Packet.Src] = map[netip.Addr]bool{}
	}
	if to := all[e.Packet.Src]; len(to) < maxProbed {
		to[e.Packet.Dst] = true
	}
}

// pingSweep says that a packet is a ping of a scan for hosts; "" if it is not.
func (all pings) pingSweep(p *packet.Packet) string {
	if n := len(all[p.Src]); isProbe(p) && n >= enoughProbed {
		return fmt.Sprintf("%v pings %d hosts or more that are not reached: a ping sweep", p.Src, n)
	}
	return ""
}
