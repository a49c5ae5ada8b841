// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"time"

	"ktrace/decoder/packet"
)

// Kind is what happened, and the name of the object that JSON has for it. Each is declared beside its Body.
type Kind string

// Event is what happened: the header every record shares, plus one typed body.
type Event struct {
	Header
	Pod, Peer Pod            // the two ends, zero until correlated; Pod is the one where it happened, else one that is known
	ToPod     bool           // Packet goes to Pod and comes from Peer; else the other way round
	Packet    *packet.Packet // nil if the event is not about one
	Body      Body
}

// Ends returns the pods at the ends of the event's packet, by their role and not by which of them is known.
func (e Event) Ends() (source, destination Pod) {
	if e.ToPod {
		return e.Peer, e.Pod
	}
	return e.Pod, e.Peer
}

// Header is what is known of any event.
type Header struct {
	Node      string    // name of the node, "" until the stream knows it
	Time      time.Time // CLOCK_REALTIME, once the stream knows the node; else time since boot after 1970
	CPU       uint16
	PID       uint32 // 0 if no process is known
	TID       uint32
	Comm      string    // valid iff PID != 0
	Cgroup    uint64    // cgroup id of the process or socket, 0 if unknown
	Netns     uint32    // inode of the network namespace, 0 if unknown
	Ifindex   uint32    // valid in Netns, 0 if none
	Iface     string    // name of Ifindex, "" until known
	Direction Direction // of a packet at Iface
	Journey   uint64    // one packet's way through this node, 0 if none
}

// Direction is which way a packet passed a device, as seen from the device's namespace.
type Direction string

// Directions; a loopback device shows both.
const (
	In  Direction = "in"
	Out Direction = "out"
)

// Body is the part of an Event that its kind defines.
type Body interface {
	Kind() Kind
	Summary() string // one line, without header and pod
}

// Layered is a Body that has a line, for people, for each layer of its packet.
type Layered interface {
	Body
	Lines() []string
}

// Served is a Body that names a service's backend by its address.
type Served interface {
	Body
	ServedAt() netip.AddrPort
	ServedBy(pod string) Body // the same with the pod, ns/name, that has the address
}

// Pod is one end of an event, as far as it is known.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	Container string `json:"container,omitempty"`
	Service   string `json:"service,omitempty"` // ns/name, where the address is a service's
	Source    string `json:"source,omitempty"`  // how it was known: cgroup, netns, veth, ip, cri, api, journey
}

// String is ns/name, the service's ns/name, or "" if neither is known.
func (p Pod) String() string {
	switch {
	case p.Name != "":
		return p.Namespace + "/" + p.Name
	case p.Service != "":
		return p.Service
	}
	return ""
}

// Addrs are all addresses that the event's packet goes by: those that it has, and what they were or will be where
// they are translated; of an ICMP error also those that it is about, of a tunnel's packet those of what it carries.
func (e Event) Addrs() []netip.Addr {
	if e.Packet == nil {
		return nil
	}
	all := []netip.Addr{e.Packet.Src, e.Packet.Dst}
	if c := e.Conntrack(); c != nil {
		for _, f := range []packet.FlowTuple{c.Original, c.Reply} {
			all = append(all, f.Src.Addr(), f.Dst.Addr())
		}
	}
	if inner := e.Packet.Innermost(); inner != e.Packet {
		all = append(all, inner.Src, inner.Dst)
	}
	if about := e.Packet.Innermost().Quoted(); about != nil {
		all = append(all, about.Src, about.Dst)
	}
	return all
}

// Masked is the client that SNAT replaced in the event's packet, and whether it is the
// sender; not ok if there is none.
func (e Event) Masked() (client netip.AddrPort, sends, ok bool) {
	c := e.Conntrack()
	if e.Packet == nil || !c.SNAT() {
		return client, false, false
	}
	sends = c.Reply.Dst == e.Packet.Source()
	return c.Original.Src, sends, sends || c.Reply.Dst == e.Packet.Destination()
}

// Conntrack returns the entry that the event's packet belongs to, nil if none is known.
func (e Event) Conntrack() *Conntrack {
	switch b := e.Body.(type) {
	case Hop:
		return b.Conntrack
	case Drop:
		return b.Conntrack
	}
	return nil
}

// Kind is the kind of the event's body.
func (e Event) Kind() Kind { return e.Body.Kind() }
