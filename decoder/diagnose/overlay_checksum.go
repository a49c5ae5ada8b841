// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"

	"ktrace/decoder/event"
)

// overlayChecksum reports a tunnel's packet that arrived, and that the kernel does not believe: the sender's device was to
// fill in a checksum and did so wrongly.
func overlayChecksum(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	kind, ok := overlays()[e.Packet.Dport]
	functions := []string{"udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb"} // where kernels before 5.17 give a tunnel nothing else up
	unnamed := d.Unexplained() && slices.Contains(functions, d.Location)
	if !ok || e.Packet.Proto != "udp" || d.Reason != "UDP_CSUM" && !unnamed {
		return event.Finding{}, false
	}
	from, to, device := e.Packet.Src, e.Packet.Destination(), st.tunnelOf(e.Netns)
	f := event.Finding{
		ID: "checksum-error", Confidence: event.Certain, Subject: fmt.Sprintf("%v > %v", from, to),
		Title: fmt.Sprintf("%s packets from %v arrive at %v with a bad checksum and are dropped: pods of the two nodes do not reach each other.", kind, from, to),
		Cause: "The tunnel's packet arrived, but its UDP checksum is wrong: as a rule the sender leaves the checksum to its network card " +
			"(offload), and that or its driver does not know tunnels. No firewall is involved.",
		Evidence: []string{fmt.Sprintf("received%s, for the tunnel's device %s", event.At(e), device)},
		Remedy: []event.Remedy{
			run("ethtool -K %v tx-checksum-ip-generic off", device).Noting("on %v", from),
			pipe(run("ip -o route get %v", to.Addr()), run("sed %v", `s/.* dev \([^ ]*\).*/\1/`), run("xargs ethtool -k"), run("grep -e tx-udp_tnl-csum -e tx-checksum")).
				Noting("on %v: the uplink's, if that does not help", from),
			run("nstat -az UdpInCsumErrors Udp6InCsumErrors").Noting("on both nodes: does it rise?"),
		},
	}
	switch {
	case d.Reason != "UDP_CSUM":
		f.Confidence = event.Likely
	case e.Packet.Family == "ipv6" && e.Packet.ChecksumMissing():
		f.Title = fmt.Sprintf("%s packets from %v arrive at %v without a checksum and are dropped: pods of the two nodes do not reach each other.", kind, from, to)
		f.Cause = "Over IPv6 a tunnel without checksums must be allowed at both ends, and is not at this one."
		f.Remedy = []event.Remedy{
			pipe(run("ip -d link show dev %v", device), run("grep -o -e noudp6zerocsumrx -e udp6zerocsumrx")).Noting("recreate the device to change it"),
			pipe(run("ip -d link show dev %v", device), run("grep -o -e noudp6zerocsumtx -e udp6zerocsumtx")).Noting("on %v", from),
		}
	}
	return f, true
}

// tunnelOf is the name of a namespace's device for tunnels, the first of several; of what flannel calls it if none is known.
func (st *State) tunnelOf(netns uint32) string {
	name := ""
	for key, device := range st.devices.All() {
		if key.netns == netns && device.Tunnels() && (name == "" || key.iface < name) {
			name = key.iface
		}
	}
	if name == "" {
		return "flannel.1"
	}
	return name
}

// overlayMisaddressed reports a packet that came out of a tunnel in a frame for another MAC than the tunnel's device has,
// though this node is who passes it on.
func overlayMisaddressed(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	device, known := st.devices.Get(deviceKey{e.Netns, e.Iface})
	functions := []string{"ip_rcv_core", "ip_rcv", "ip6_rcv_core", "ipv6_rcv"} // where kernels before 5.17 give it up
	by, carried := st.effects.tunneled.Get(flowOf(e.Packet))
	wrong := carried && device.MAC != "" && by.mac != device.MAC
	unnamed := d.Unexplained() && slices.Contains(functions, d.Location) && wrong
	if !known || !device.Tunnels() || d.Reason != "OTHERHOST" && !unnamed || !st.passesOn(e) {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "overlay-blocked", Confidence: event.Certain, Subject: at(e),
		Title: fmt.Sprintf("The tunnel's frames for %v come with a MAC that is not that of %s, and are dropped: the sender's neighbour or fdb entry for this node is stale.", e.Packet.Dst, e.Iface),
		Cause: "The packet came through the tunnel to the right node, in a frame for another MAC address, so the kernel takes it for another host's. " +
			"The device was recreated, and the other node still has its old MAC (ip neigh, bridge fdb). No firewall is involved.",
		Remedy: []event.Remedy{run("ip -br link show dev %v", e.Iface).Noting("its MAC, against what the other nodes have for it")},
	}
	sender := "the sending node"
	if device.MAC != "" {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the MAC of %s is %s", e.Iface, device.MAC))
	}
	if wrong {
		sender = by.from.String()
		f.Subject = fmt.Sprintf("%v > %v", by.from, by.to)
		f.Evidence = append(f.Evidence, fmt.Sprintf("the frame is for %s, in a packet from %v to %v", by.mac, by.from, by.to))
		f.Remedy = append(f.Remedy, pipe(run("ip neigh show"), run("grep -i %v", by.mac)).Noting("on %s: the stale entry", sender),
			pipe(run("bridge fdb show"), run("grep -i %v", by.mac)).Noting("on %s: the stale entry", sender))
	}
	for _, p := range device.Addrs {
		if p.Addr().Is4() == e.Packet.Dst.Is4() && !p.Addr().IsLinkLocalUnicast() && device.MAC != "" {
			f.Remedy = append(f.Remedy, run("ip neigh replace %v lladdr %v dev %v", p.Addr(), device.MAC, e.Iface).Noting("on %s", sender))
			break
		}
	}
	f.Remedy = append(f.Remedy, do("restart the network plugin on %s, which writes these entries", sender))
	return f, true
}

// passesOn reports whether the node that a packet came to by a tunnel is the last before its destination. What is for a
// third node was flooded, and is that node's.
func (st *State) passesOn(e event.Event) bool {
	r, ok := st.route(e, false)
	out, _ := st.devices.Get(deviceKey{e.Netns, r.Out})
	return ok && r.Errno == "" && !r.Gateway.IsValid() && (r.Type == "local" || r.Type == "unicast" && !out.Tunnels())
}
