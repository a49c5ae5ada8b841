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
type scans map[netip.Addr]*tries

// tries are where one was dropped, and at which ports and hosts: they are asked for with each drop.
type tries struct {
	at    map[netip.AddrPort]bool
	ports map[uint16]bool
	hosts map[netip.Addr]bool
}

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
	tried := all[e.Packet.Src]
	if tried == nil {
		if len(all) >= maxProbers {
			clear(all)
		}
		tried = &tries{map[netip.AddrPort]bool{}, map[uint16]bool{}, map[netip.Addr]bool{}}
		all[e.Packet.Src] = tried
	}
	if to := e.Packet.Destination(); len(tried.at) < maxProbed {
		tried.at[to], tried.ports[to.Port()], tried.hosts[to.Addr()] = true, true, true
	}
}

// describe says that a sender looks for what is open; "" if it does not.
func (all scans) describe(of netip.Addr) string {
	if !all.scans(of) {
		return ""
	}
	return fmt.Sprintf("%v is outside the cluster, and tries %d ports of %d hosts or more: a port scan", of, len(all[of].ports), len(all[of].hosts))
}

// scans reports whether a sender looks for what is open.
func (all scans) scans(who netip.Addr) bool {
	tried := all[who]
	return tried != nil && (len(tried.ports) >= enoughPorts || len(tried.hosts) >= enoughHosts)
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
	return !st.near.has(st, a)
}

// near are the networks of a cluster's hosts and pods, as far as they are known. They are gathered anew once what is known changed, and
// not for each packet: of services there may be thousands.
type near struct {
	gathered          bool
	devices, services int // how often these had changed
	networks          map[netip.Prefix]bool
	wide              []netip.Prefix // of devices
}

func (n *near) has(st *State, a netip.Addr) bool {
	if !n.gathered || n.devices != st.deviceChanges || n.services != st.services.changes {
		n.gather(st)
	}
	return n.networks[neighbourhood(a)] || slices.ContainsFunc(n.wide, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (n *near) gather(st *State) {
	*n = near{gathered: true, devices: st.deviceChanges, services: st.services.changes, networks: map[netip.Prefix]bool{}}
	for _, d := range st.devices.All() {
		for _, p := range d.Addrs {
			own := neighbourhood(p.Addr())
			n.networks[own] = true
			if p.Bits() < own.Bits() {
				n.wide = append(n.wide, p.Masked())
			}
		}
	}
	for _, s := range st.services.facts {
		for _, p := range s.Ports {
			for _, at := range p.Endpoints {
				n.networks[neighbourhood(at.Addr())] = true
			}
		}
	}
}

// neighbourhood is the network that a cluster's hosts or pods have together with an address, if it is one of them.
func neighbourhood(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 16
	}
	return netip.PrefixFrom(a, bits).Masked()
}
