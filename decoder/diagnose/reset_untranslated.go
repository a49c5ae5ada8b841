// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// untranslated concludes from a client that reset what came from the backend's own address, which it never asked. Where
// already the SYN-ACK did, the way back passes conntrack by; else conntrack did not take a segment for the connection's, and
// let it pass as it was.
func (r *Resets) untranslated(e event.Event, b event.Reset, f *event.Finding) {
	client, backend, service := b.Connection.Src, b.Connection.Dst, b.Original.Dst
	e.Netns = b.From // the client's
	name, _ := r.state.ServiceAt(e.Netns, "tcp", service)
	if t := trigger(b); t != nil && t.HasFlag('S') {
		*f = conclude(r.state.notUntranslated(e, event.NAT{Backend: backend, Original: b.Original}), e)
		f.Pod, f.Peer = e.Peer, e.Pod
		return
	}
	f.ID, f.Subject, f.Confidence, f.Severity = "conntrack-invalid", "conntrack", event.Likely, event.Warning
	hits(f, e, b, service)
	f.Title = fmt.Sprintf("%s reset its connection to %s: a packet of the backend %s came to it without being translated back.",
		end(e.Peer, client), called(name, event.ServiceRules{}, service), end(e.Pod, backend))
	f.Cause = "conntrack called a packet of the connection INVALID, as when it is outside the window, and no rule dropped it. " +
		"It kept the backend's own address, which the client has no connection to, so the client reset it, and with it the backend's end."
	f.Evidence = append(f.Evidence,
		fmt.Sprintf("conntrack translated %v to %v", b.Original, b.Connection),
		fmt.Sprintf("from %v, expected from %v", backend, service))
	for _, netns := range r.state.calledInvalid(trigger(b)) {
		said, _ := r.state.netfilterEvent(netfilterKey{event.NetfilterInvalid, netns, natFlow{trigger(b).Proto, trigger(b).Flow()}}, nil)
		f.Confidence = event.Certain
		f.Subject = tracker(netns)
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack's own message in netns %d: %s", netns, said.Text))
	}
	f.Remedy = []event.Remedy{
		run("sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1").Noting("on the node that translates: out-of-window packets are translated, too"),
		run(forFamily(service.Addr(), "iptables -I FORWARD -m conntrack --ctstate INVALID -j DROP")).Noting("or have kube-proxy drop them, as it does by default"),
		conntrackCounter("invalid"),
	}
}

// calledInvalid are the namespaces whose conntrack called a packet so, in order.
func (st *State) calledInvalid(p *packet.Packet) (spaces []uint32) {
	for said := range st.netfilterEvents.All() {
		if p != nil && said.op == event.NetfilterInvalid && said.flow == (natFlow{p.Proto, p.Flow()}) {
			spaces = append(spaces, said.netns)
		}
	}
	slices.Sort(spaces)
	return spaces
}

// hits says that the client is hit, which sent the reset, where it wanted to reach a server.
func hits(f *event.Finding, e event.Event, b event.Reset, server netip.AddrPort) {
	f.Pod, f.Peer = e.Peer, e.Pod
	f.Hits = []event.Hit{{Pod: e.Peer, From: b.Connection.Src.Addr(), To: packet.FormatAddrPort(server), Count: 1}}
}

// trigger is the packet that a reset answers, nil if it is not known.
func trigger(b event.Reset) *packet.Packet {
	if b.Sent == nil {
		return nil
	}
	return b.Sent.Trigger
}
