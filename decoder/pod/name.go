// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
	"time"

	"ktrace/decoder/event"
)

// name ties an event to its pods. The pod is whose the place is where it was seen: by the cgroup of the socket or
// task, by the namespace, by the other end of a veth; of a packet seen elsewhere it is the sender, or the receiver if the
// sender is no pod, by their addresses, those before source translation too. The peer is the packet's other end. A sender that is not known by its address is who
// sent the packet where it was seen before. The node's own namespace names no pod: only their cgroups distinguish pods on the
// host network.
func (x *Index) name(e *event.Event) {
	if e.Pod != (event.Pod{}) {
		return
	}
	at, p := x.where(e.Header)
	e.Pod = at
	if e.Packet == nil {
		return
	}
	k := e.Packet.Innermost() // a tunnel's own ends are nodes
	src, dst := x.byAddr(k.Src, k.Proto, k.Sport, e.Time), x.byAddr(k.Dst, k.Proto, k.Dport, e.Time)
	x.unmask(*e, &src, &dst)
	forged := p != nil && src.UID != "" && src.UID != p.UID && leaves(e)
	if p != nil && !forged && bystander(at, src, dst) {
		p, e.Pod = nil, event.Pod{}
	}
	e.ToPod = p == nil && src.UID == "" && dst.UID != "" || p != nil && !x.sent(e, p, src, dst)
	here, there, sender := src, dst, &e.Pod
	if e.ToPod {
		here, there, sender = dst, src, &e.Peer
	}
	if e.Peer = there; p == nil {
		e.Pod = here
	}
	if forged && e.Journey != 0 {
		x.forgers.Put(e.Journey, *sender)
	}
	x.follow(e, sender, p)
}

// leaves reports whether a packet comes out of the namespace of the pod that it is seen at, in which it began: whatever source
// address it has, another pod's too, it is this pod's.
func leaves(e *event.Event) bool {
	return e.Pod.Source == sourceNetns && e.Direction == event.Out || e.Pod.Source == sourceVeth && e.Direction == event.In
}

// unmask names the client that source translation gave the node's address.
func (x *Index) unmask(e event.Event, src, dst *event.Pod) {
	client, sends, ok := e.Masked()
	end := dst
	if sends {
		end = src
	}
	if !ok || end.UID != "" {
		return
	}
	if pod := x.byAddr(client.Addr(), e.Packet.Proto, client.Port(), e.Time); pod.UID != "" {
		*end = pod
	}
}

// bystander reports whether a packet seen at a pod is between others: a bridge that does not know where an address is
// sends to all its ports.
func bystander(at, src, dst event.Pod) bool {
	return at.Source != sourceCgroup && at.Source != SourcePtcpdump && src.UID != at.UID && dst.UID != at.UID && src.UID+dst.UID != ""
}

// sent reports whether the packet of an event seen at pod p is on its way from it. Addresses say so unless they are
// translated, or the node's; then what a socket reports does, or the device, for the node's end of a veth the other way
// round. A socket's packet that is out of the pod's namespace has left it.
func (x *Index) sent(e *event.Event, p *Info, src, dst event.Pod) bool {
	s, bySocket := e.Body.(event.Sock)
	fromIt, toIt := src.UID == p.UID, dst.UID == p.UID
	switch {
	case fromIt != toIt:
		return fromIt
	case bySocket: // the node's own has what comes by the veth from the pod
		return s.Takes() == (e.Pod.Source == sourceVeth)
	case e.Pod.Source == sourceCgroup && p.Netns != 0 && p.Netns != e.Netns:
		return true
	case e.Pod.Source == sourceVeth:
		return e.Direction == event.In
	}
	return e.Direction != event.In
}

const (
	sourceCgroup = "cgroup"
	sourceNetns  = "netns"
	sourceVeth   = "veth"
	sourceIP     = "ip"

	sourceJourney = "journey" // seen before, where it was known
)

// SourcePtcpdump is the source of what ptcpdump wrote beside the packets of a capture: whose the process is.
const SourcePtcpdump = "ptcpdump"

// where returns whose the place of an event is.
func (x *Index) where(h event.Header) (event.Pod, *Info) {
	if o, ok := x.cgroups[h.Cgroup]; ok && h.Cgroup != 0 {
		return o.pod.end(o.container, sourceCgroup), o.pod
	}
	if s, ok := x.inNetns(h.Netns, h.Time); ok {
		return s.pod.end(nil, sourceNetns), s.pod
	}
	if far, ok := x.veths[place{h.Netns, h.Ifindex}]; ok {
		if s, ok := x.inNetns(far.netns, h.Time); ok {
			return s.pod.end(nil, sourceVeth), s.pod
		}
	}
	return event.Pod{}, nil
}

func (x *Index) inNetns(inode uint32, t time.Time) (span, bool) {
	if inode == 0 || inode == x.node.Netns {
		return span{}, false
	}
	return x.netns[inode].at(t)
}

// byAddr returns the pod that had an address at the time, or the service.
func (x *Index) byAddr(a netip.Addr, proto string, port uint16, t time.Time) event.Pod {
	s, ok := x.addrs[a.Unmap()].at(t)
	if !ok {
		return x.services.at(a, proto, port)
	}
	source := sourceIP
	if s.source == "cri" || s.source == "api" {
		source = s.source
	}
	return s.pod.end(nil, source)
}
