// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// ServiceAt returns the service whose address it is, as the best source knows it: the rules of the namespace where the
// packet is, or the API, before rules elsewhere; one that has the port, or else a name.
func (st *State) ServiceAt(netns uint32, proto string, at netip.AddrPort) (event.ServiceFact, bool) {
	var best event.ServiceFact
	const none, guess = -1 << 8, -1 << 4
	most := none
	for _, s := range st.services.of(at.Addr()) {
		if !st.concerns(s, netns) || guessed(s) && !st.mayBeService(at.Addr(), netns) {
			continue
		}
		points := 0
		if s.Netns == netns || s.Netns == 0 {
			points += 4
		}
		if has(s, proto, at.Port()) {
			points += 2
		}
		if s.Name != "" {
			points++
		}
		switch {
		case fromPod(s):
			points += guess
		case guessed(s):
			points += guess / 2
		}
		if points > most || points == most && s.Source+s.Namespace+s.Name < best.Source+best.Namespace+best.Name {
			best, most = s, points
		}
	}
	if most > none && !has(best, proto, at.Port()) {
		best.Namespace, best.Name = "", "" // another's at the same address
	}
	return best, most > none
}

// concerns reports whether what a source knows of services is true for a namespace: rules are for the namespace that
// they are in, and the node's own for its pods. Another namespace may be another node. What a pod's files say is for the pod:
// it writes there what it likes.
func (st *State) concerns(s event.ServiceFact, netns uint32) bool {
	return !fromPod(s) && !fromRules(s) || s.Netns == netns || fromRules(s) && s.Netns == st.node.Netns
}

// fromRules reports whether kube-proxy's own rules say it.
func fromRules(s event.ServiceFact) bool {
	return s.Source == "iptables" || s.Source == "nftables" || s.Source == "ipvs"
}

// fromPod reports whether only a file of a pod says it, which may name servers that are none of the cluster's.
func fromPod(s event.ServiceFact) bool { return s.Source == "resolv" || s.Source == "env" }

// guessed reports whether a file names a server that is usually a service, and may be another: a pod's, or the kubelet's
// configuration (clusterDNS).
func guessed(s event.ServiceFact) bool { return fromPod(s) || s.Source == "kubelet" }

// serviceTo is the service that a packet is on its way to, as far as nothing else says it by the files of its sender.
func (st *State) serviceTo(e event.Event) (event.ServiceFact, bool) {
	to := e.Packet.Destination()
	if s, known := st.ServiceAt(e.Netns, e.Packet.Proto, to); known {
		return s, true
	}
	var best event.ServiceFact
	for _, s := range st.services.of(to.Addr()) {
		if fromPod(s) && has(s, e.Packet.Proto, to.Port()) && st.sentFrom(s.Netns, e) && s.Source > best.Source && st.mayBeService(to.Addr(), st.ruledOn(e)...) {
			best = s // resolv rather than env, which any program in the pod may have written
		}
	}
	return best, best.Source != ""
}

// ruledOn are the namespaces whose rules for services had their turn with a packet: where it is, where it was left as it was, and
// where the rules were looked up for it.
func (st *State) ruledOn(e event.Event) []uint32 {
	spaces := []uint32{e.Netns, st.effects.natNetns(e)}
	for key := range st.rules.All() {
		if key.proto == e.Packet.Proto && key.addr == e.Packet.Destination() {
			spaces = append(spaces, key.netns)
		}
	}
	return spaces
}

// learnSender keeps which namespace a packet came from, if its files name whom it is for.
func (st *State) learnSender(e event.Event) {
	if e.Packet == nil || e.Journey == 0 || e.Direction != event.Out {
		return
	}
	for _, key := range st.services.at[e.Packet.Dst] {
		if key.netns == e.Netns && (key.source == "resolv" || key.source == "env") {
			st.senders.Put(e.Journey, e.Netns)
			return
		}
	}
}

// sentFrom reports whether a packet's sender is in a namespace, also if its source was translated since.
func (st *State) sentFrom(netns uint32, e event.Event) bool {
	if from, known := st.senders.Get(e.Journey); known {
		return from == netns
	}
	if n, ok := e.Body.(event.NAT); ok && st.owns(netns, n.Original.Src.Addr()) {
		return true
	}
	if c := e.Conntrack(); c != nil && st.owns(netns, c.Original.Src.Addr()) {
		return true
	}
	return st.owns(netns, e.Packet.Src)
}

// has reports whether a service has a port.
func has(s event.ServiceFact, proto string, port uint16) bool {
	return slices.ContainsFunc(s.Ports, func(p event.ServicePort) bool { return p.Proto == proto && p.Port == port })
}

// rulesFor is the state of the node's rules for an address: of the namespace where the packet is, or, if that has none
// at all, of another that such packets passed, which is the one to translate.
func (st *State) rulesFor(netns uint32, proto string, to netip.AddrPort) (event.ServiceRules, bool) {
	own, ok := st.rules.Get(rulesKey{netns, proto, to})
	if ok && own.State != event.ServiceNone {
		return own, true
	}
	for key, r := range st.rules.All() {
		if key.proto == proto && key.addr == to && r.State != event.ServiceNone && (own.State == "" || own.State == event.ServiceNone || key.netns < own.Netns) {
			own, ok = r, true
		}
	}
	return own, ok
}

// called names a service address.
func called(s event.ServiceFact, r event.ServiceRules, to netip.AddrPort) string {
	switch {
	case s.Name != "":
		return fmt.Sprintf("service %s/%s (%v)", s.Namespace, s.Name, to)
	case r.Service != "":
		return fmt.Sprintf("service %s (%v)", r.Service, to)
	}
	return fmt.Sprintf("service address %v", to)
}
