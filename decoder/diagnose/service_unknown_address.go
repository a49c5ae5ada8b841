// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// noSuchService reports a packet to an address in the range of services that no service has, though it may have been one's:
// a client goes on with the address of a service that was deleted, or created anew with another. At best a pod's own
// environment names a service for it. seen says where the packet was.
func (st *State) noSuchService(e event.Event, seen string) (event.Finding, bool) {
	to := e.Packet.Destination()
	byAPI := st.services.byAPI()
	sure, why := st.inRange(to.Addr(), e.Netns, st.effects.natNetns(e))
	if st.hasService(to.Addr(), e.Netns, st.effects.natNetns(e)) || sure != event.Certain || st.onDevice(to.Addr()) {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "service-dnat-miss", Severity: event.Warning, Confidence: event.Likely, Subject: fmt.Sprintf("%s %v", e.Packet.Proto, to),
		Title: fmt.Sprintf("Packets to %v, an address in the range of services, are not DNATed: no service has it.", to),
		Cause: "The service was deleted, or recreated with another address, and the client still uses the old one: from a DNS answer, " +
			"from its environment, or as it was configured.",
		Evidence: []string{seen, why, fmt.Sprintf("no service has the address %v", to.Addr())},
		Remedy: []event.Remedy{
			pipe(run("kubectl get services -A -o wide"), run("grep -w %v", to.Addr())),
			do("let the client look the name up again, or restart it"),
		},
	}
	if !byAPI {
		f.Confidence = event.Possible
		f.Title = fmt.Sprintf("Packets to %v, an address in the range of services, are not DNATed: the node has no rule for it.", to)
		f.Cause += " Or kube-proxy has lost its rules, or has not written them."
		f.Evidence[2] = fmt.Sprintf("no rule of the node's is for the address %v, and the API was not asked", to.Addr())
		f.Remedy = slices.Insert(f.Remedy, 1, systemPods("kube-proxy"))
		if st.unread(e) {
			f.Title = fmt.Sprintf("Packets to %v, an address in the range of services, are not DNATed; the node's rules could not be read in time.", to)
			f.Evidence[2] = notInTime + ", and the API was not asked"
		}
	}
	return f, true
}

// byAPI reports whether services are known from the API.
func (s *services) byAPI() bool {
	for key := range s.facts {
		if key.source == "api" {
			return true
		}
	}
	return false
}

// hasService reports whether a service has the address, by more than a file's word, in one of the namespaces given.
func (st *State) hasService(a netip.Addr, spaces ...uint32) bool {
	return slices.ContainsFunc(st.services.of(a), func(s event.ServiceFact) bool {
		return !guessed(s) && slices.ContainsFunc(spaces, func(netns uint32) bool { return st.concerns(s, netns) })
	})
}

// onDevice reports whether an address is known to be a device's.
func (st *State) onDevice(a netip.Addr) bool {
	for _, d := range st.devices.All() {
		if slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return true
		}
	}
	return false
}
