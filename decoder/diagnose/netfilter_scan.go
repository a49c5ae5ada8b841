// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// scans are where senders were dropped who open connections, by sender.
type scans map[netip.Addr]map[netip.AddrPort]bool

// How many ports, or hosts at one port, a scan tries. A scraper of many hosts tries one or two ports.
const (
	enoughPorts = 8
	enoughHosts = 16
)

// learn takes in a drop.
func (all scans) learn(e event.Event) {
	d, ok := e.Body.(event.Drop)
	if !ok || e.Packet == nil || !d.ByNetfilter() || d.Conntrack.DNAT() || !opens(e.Packet) {
		return
	}
	if all[e.Packet.Src] == nil {
		if len(all) >= maxProbers {
			clear(all)
		}
		all[e.Packet.Src] = map[netip.AddrPort]bool{}
	}
	if tried := all[e.Packet.Src]; len(tried) < maxProbed {
		tried[e.Packet.Destination()] = true
	}
}

// describe says that a sender looks for what is open; "" if it does not.
func (all scans) describe(of netip.Addr) string {
	ports, hosts := map[uint16]bool{}, map[netip.Addr]bool{}
	for at := range all[of] {
		ports[at.Port()], hosts[at.Addr()] = true, true
	}
	if len(ports) < enoughPorts && len(hosts) < enoughHosts {
		return ""
	}
	return fmt.Sprintf("%v is outside the cluster, and tries %d ports of %d hosts or more: a port scan", of, len(ports), len(hosts))
}

// opens reports whether a packet begins something.
func opens(p *packet.Packet) bool {
	return p.Proto == "tcp" && p.HasFlag('S') && !p.HasFlag('.') || p.Proto == "udp" && p.Dport < firstEphemeral
}

// scanned says why a packet to be forwarded that a rule dropped is no loss here: it was a scan from outside.
// What a pod or a process of the node asks for is missed, and so is what a service's address was asked for.
func (st *State) scanned(e event.Event, d event.Drop) string {
	if !d.ByNetfilter() || d.Conntrack.DNAT() || !opens(e.Packet) || !st.isOutside(e) {
		return ""
	}
	return st.scans.describe(e.Packet.Src)
}

// isOutside reports whether the sender of a packet is known to be none of the cluster: its address is a public one, and
// no network of this node, no pod and no endpoint of a service is near it.
func (st *State) isOutside(e event.Event) bool {
	from, _ := e.Ends()
	a := e.Packet.Src
	shared := netip.MustParsePrefix("100.64.0.0/10") // of providers' NAT, and of some plugins' pods
	if from.UID != "" || !a.IsGlobalUnicast() || a.IsPrivate() || shared.Contains(a) {
		return false
	}
	near := neighbourhood(a)
	for _, d := range st.devices.All() {
		if slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return near.Contains(p.Addr()) || p.Masked().Contains(a) }) {
			return false
		}
	}
	for _, s := range st.services.facts {
		for _, p := range s.Ports {
			if slices.ContainsFunc(p.Endpoints, func(at netip.AddrPort) bool { return near.Contains(at.Addr()) }) {
				return false
			}
		}
	}
	return true
}

// neighbourhood is the network that a cluster's hosts or pods have together with an address, if it is one of them.
func neighbourhood(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 16
	}
	return netip.PrefixFrom(a, bits).Masked()
}
