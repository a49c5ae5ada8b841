package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder"
)

// addressGone reports a packet to or from an address that the host which should have it lacks. The sender takes
// the host for its end, so that whether the host passes packets on does not matter.
func addressGone(k *Facts, e decoder.Event, d decoder.Drop) (decoder.Finding, bool) {
	if back, ok := k.route(e, true); ok && back.Type != "local" && d.Reason == "IP_OUTNOROUTES" && !e.Packet.Src.IsUnspecified() {
		return k.sourceGone(e), true
	}
	_, setting := k.notForwarded(e, d)
	if _, ok := k.route(e, true); setting == "" && !(ok && d.NoWay() && !k.sentFromHere(e)) {
		return decoder.Finding{}, false
	}
	sure, why := k.endsHere(e)
	if sure == "" {
		return decoder.Finding{}, false
	}
	k.before.gone.Put(goneAddress{e.Netns, e.Packet.Dst}, true)
	f := k.missing(e.Netns, e.Packet.Dst)
	f.Confidence = sure
	f.Title = fmt.Sprintf("Packets for %v are delivered to netns %d, where no device has that address, and are dropped.", e.Packet.Dst, e.Netns)
	f.Evidence = append(f.Evidence, why...)
	if r, ok := k.route(e, false); ok {
		f.Evidence = append(f.Evidence, "route lookup there: "+way(r))
	}
	return f, true
}

// missing is the finding about an address that is on no device of a namespace.
func (k *Facts) missing(netns uint32, addr netip.Addr) decoder.Finding {
	f := decoder.Finding{
		ID: "no-route", Subject: fmt.Sprintf("%v in netns %d", addr, netns),
		Cause: "The address was removed from its device, or never set: a network plugin that did not finish, a second one, a DHCP lease that ended. " +
			"Or the sender's route leads to the wrong host.",
		Remedy: []string{
			k.in(netns) + "ip -br addr   # which addresses its devices have",
			fmt.Sprintf("ip route get %v   # at the sender: is this the host that should have the address?", addr),
			"# of a pod: delete it, so that the network of the next is set up anew",
		},
	}
	for _, d := range k.devicesOf(netns) {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s, %s", d.Name, addresses(d)))
	}
	return f
}

// sourceGone concludes from a packet that could not be sent because its source address, and with it the routes, went.
func (k *Facts) sourceGone(e decoder.Event) decoder.Finding {
	f := k.missing(e.Netns, e.Packet.Src)
	f.Confidence = decoder.Certain
	f.Title = fmt.Sprintf("Connections of netns %d use the source address %v, which no device there has; there is no route to %v either.",
		e.Netns, e.Packet.Src, e.Packet.Dst)
	f.Remedy = slices.Delete(f.Remedy, 1, 2) // the sender is this namespace
	if r, ok := k.route(e, false); ok {
		f.Evidence = append(f.Evidence, "route lookup: "+way(r))
	}
	return f
}

// sentFromHere reports whether the packet's source is an address of the namespace where it was dropped.
func (k *Facts) sentFromHere(e decoder.Event) bool {
	back, _ := k.route(e, true)
	return back.Type == "local"
}

// endsHere says how sure it is that a packet was sent to the host where it is as its end, and by what that is known; ""
// if it was sent to be passed on, or nothing is known. Who is at the other end of the veth knows: its route names the
// address as one on the link, or this host as a router.
func (k *Facts) endsHere(e decoder.Event) (decoder.Confidence, []string) {
	if dev, ok := k.devices.Get(deviceKey{e.Netns, e.Iface}); ok && dev.PeerNetns != 0 {
		r, ok := k.routes.Get(routeKey{decoder.Ask(e).At(dev.PeerNetns, dev.PeerIndex), false})
		switch {
		case ok && r.Errno == "" && r.Type == "unicast" && !r.Gateway.IsValid():
			return decoder.Certain, []string{fmt.Sprintf("netns %d, at the other end of %s, takes the address for one on the link: %s", dev.PeerNetns, e.Iface, way(r))}
		case ok && r.Gateway.IsValid():
			return "", nil
		}
	}
	if e.Netns == k.node.Netns || !k.oneDevice(e.Netns) {
		return "", nil
	}
	return decoder.Likely, []string{fmt.Sprintf("netns %d has one device beside lo, so it passes nothing on", e.Netns)}
}

// oneDevice reports whether a namespace is known to have one device beside lo that is up: that of an end host.
func (k *Facts) oneDevice(netns uint32) bool {
	n := 0
	for _, d := range k.devicesOf(netns) {
		if d.Name != "lo" && !d.Down {
			n++
		}
	}
	return n == 1
}

// devicesOf returns the devices of a namespace, by their numbers.
func (k *Facts) devicesOf(netns uint32) []decoder.Device {
	var all []decoder.Device
	for key, d := range k.devices.All() {
		if key.netns == netns && !d.Gone {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b decoder.Device) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return all
}

// addresses is what addresses a device has, in words.
func addresses(d decoder.Device) string {
	all := make([]netip.Addr, 0, len(d.Addrs))
	for _, p := range d.Addrs {
		all = append(all, p.Addr())
	}
	return "addresses: " + list(all)
}

// isElsewhere reports that the host at the other end of a veth, whose address a packet's next hop is, does not have that
// address, and how it is known.
func (k *Facts) isElsewhere(e decoder.Event, device string, hop netip.Addr) (netns uint32, missing bool) {
	dev, ok := k.devices.Get(deviceKey{e.Netns, device})
	if !ok || dev.PeerNetns == 0 || hop != e.Packet.Dst {
		return 0, false
	}
	r, ok := k.routes.Get(routeKey{decoder.Ask(e).At(dev.PeerNetns, dev.PeerIndex), false})
	return dev.PeerNetns, ok && r.Type != "local" && (r.Errno == "EHOSTUNREACH" || r.Errno == "ENETUNREACH" || r.Errno == "")
}
