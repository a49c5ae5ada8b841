// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// addressMissing reports a packet to or from an address that the host which should have it lacks. The sender takes
// the host for its end, so that whether the host passes packets on does not matter.
func addressMissing(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if back, ok := st.route(e, true); ok && back.Type != "local" && d.Reason == "IP_OUTNOROUTES" && !e.Packet.Src.IsUnspecified() {
		return st.missingSource(e), true
	}
	_, setting := st.notForwarded(e, d)
	if _, ok := st.route(e, true); setting == "" && !(ok && d.NoWay() && !st.sentFromHere(e)) {
		return event.Finding{}, false
	}
	sure, why := st.endsHere(e)
	if sure == "" {
		return event.Finding{}, false
	}
	f := st.missingAddress(e.Netns, e.Packet.Dst)
	f.Confidence = sure
	f.Title = fmt.Sprintf("Packets for %v are delivered to netns %d, where no device has that address, and are dropped.", e.Packet.Dst, e.Netns)
	if st.effects.misses(netnsAddr{e.Netns, e.Packet.Dst}) {
		f.Subject = fmt.Sprintf("addresses in netns %d", e.Netns)
		f.Title = fmt.Sprintf("Packets for %v, as for at least %d other addresses, are delivered to netns %d, where no device has them, and are dropped.", e.Packet.Dst, missingApart, e.Netns)
	}
	f.Evidence = append(f.Evidence, why...)
	if r, ok := st.route(e, false); ok {
		f.Evidence = append(f.Evidence, "route lookup there: "+describeRoute(r))
	}
	return f, true
}

// missingAddress is the finding about an address that is on no device of a namespace.
func (st *State) missingAddress(netns uint32, addr netip.Addr) event.Finding {
	f := event.Finding{
		ID: "no-route", Subject: fmt.Sprintf("%v in netns %d", addr, netns),
		Cause: "The address was removed from its device, or never set: a network plugin that did not finish, a second one, a DHCP lease that ended. " +
			"Or the sender's route leads to the wrong host.",
		Remedy: []event.Remedy{
			run("ip -br addr").In(st.enter(netns)).Noting("which addresses its devices have"),
			run("ip route get %v", addr).Noting("at the sender: is this the host that should have the address?"),
			do("if it is a pod's address, delete the pod: the next one's network is set up anew"),
		},
	}
	for _, d := range st.devicesOf(netns) {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s, %s", d.Name, addresses(d)))
	}
	return f
}

// missingSource concludes from a packet that could not be sent because its source address, and with it the routes, went.
func (st *State) missingSource(e event.Event) event.Finding {
	f := st.missingAddress(e.Netns, e.Packet.Src)
	f.Confidence = event.Certain
	f.Title = fmt.Sprintf("Connections of netns %d use the source address %v, which no device there has; there is no route to %v either.",
		e.Netns, e.Packet.Src, e.Packet.Dst)
	f.Remedy = slices.Delete(f.Remedy, 1, 2) // the sender is this namespace
	if r, ok := st.route(e, false); ok {
		f.Evidence = append(f.Evidence, "route lookup: "+describeRoute(r))
	}
	return f
}

// sentFromHere reports whether the packet's source is an address of the namespace where it was dropped.
func (st *State) sentFromHere(e event.Event) bool {
	back, _ := st.route(e, true)
	return back.Type == "local"
}

// endsHere says how sure it is that a packet was sent to the host where it is as its end, and by what that is known; ""
// if it was sent to be passed on, or nothing is known. Who is at the other end of the veth knows: its route names the
// address as one on the link, or this host as a router.
func (st *State) endsHere(e event.Event) (event.Confidence, []string) {
	if dev, ok := st.devices.Get(deviceKey{e.Netns, e.Iface}); ok && dev.PeerNetns != 0 {
		r, ok := st.routes.Get(routeKey{event.KeyOf(e).At(dev.PeerNetns, dev.PeerIndex), false})
		switch {
		case ok && r.Errno == "" && r.Type == "unicast" && !r.Gateway.IsValid():
			return event.Certain, []string{fmt.Sprintf("netns %d, at the other end of %s, takes the address for one on the link: %s", dev.PeerNetns, e.Iface, describeRoute(r))}
		case ok && r.Gateway.IsValid():
			return "", nil
		}
	}
	if e.Netns == st.node.Netns || !st.oneDevice(e.Netns) {
		return "", nil
	}
	return event.Likely, []string{fmt.Sprintf("netns %d has one device beside lo, so it does not forward", e.Netns)}
}

// oneDevice reports whether a namespace is known to have one device beside lo that is up: that of an end host.
func (st *State) oneDevice(netns uint32) bool {
	n := 0
	for _, d := range st.devicesOf(netns) {
		if d.Name != "lo" && !d.Down {
			n++
		}
	}
	return n == 1
}

// devicesOf returns the devices of a namespace, by their numbers.
func (st *State) devicesOf(netns uint32) []event.Device {
	var all []event.Device
	for key, d := range st.devices.All() {
		if key.netns == netns && !d.Gone {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b event.Device) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return all
}

// addresses is what addresses a device has, in words.
func addresses(d event.Device) string {
	all := make([]netip.Addr, 0, len(d.Addrs))
	for _, p := range d.Addrs {
		all = append(all, p.Addr())
	}
	return "addresses: " + list(all)
}

// isElsewhere reports that the host at the other end of a veth, whose address a packet's next hop is, does not have that
// address, and how it is known.
func (st *State) isElsewhere(e event.Event, device string, hop netip.Addr) (netns uint32, missing bool) {
	dev, ok := st.devices.Get(deviceKey{e.Netns, device})
	if !ok || dev.PeerNetns == 0 || hop != e.Packet.Dst {
		return 0, false
	}
	r, ok := st.routes.Get(routeKey{event.KeyOf(e).At(dev.PeerNetns, dev.PeerIndex), false})
	return dev.PeerNetns, ok && r.Type != "local" && (r.Errno == "EHOSTUNREACH" || r.Errno == "ENETUNREACH" || r.Errno == "")
}
