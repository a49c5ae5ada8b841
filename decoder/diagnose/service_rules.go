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
		if !st.concerns(s, netns) || fromPod(s) && !st.mayBeService(netns, at.Addr()) {
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
		if fromPod(s) {
			points += guess
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
// they are in, and the node's own for its pods. Another namespace may be another node. What an environment says is
// for who has it: anyone can write there what he likes.
func (st *State) concerns(s event.ServiceFact, netns uint32) bool {
	return s.Source != "env" && !fromRules(s) || s.Netns == netns || fromRules(s) && s.Netns == st.node.Netns
}

// fromRules reports whether kube-proxy's own rules say it.
func fromRules(s event.ServiceFact) bool {
	return s.Source == "iptables" || s.Source == "nftables" || s.Source == "ipvs"
}

// fromPod reports whether only a file of a pod says it, which may name servers that are none of the cluster's.
func fromPod(s event.ServiceFact) bool { return s.Source == "resolv" || s.Source == "env" }

// serviceTo is the service that a packet is on its way to, as far as nothing else says it by the environment of its sender.
func (st *State) serviceTo(e event.Event) (event.ServiceFact, bool) {
	to := e.Packet.Destination()
	if s, known := st.ServiceAt(e.Netns, e.Packet.Proto, to); known {
		return s, true
	}
	for _, s := range st.services.of(to.Addr()) {
		if s.Source == "env" && has(s, e.Packet.Proto, to.Port()) && st.owns(s.Netns, e.Packet.Src) && st.mayBeService(e.Netns, to.Addr()) {
			return s, true
		}
	}
	return event.ServiceFact{}, false
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
