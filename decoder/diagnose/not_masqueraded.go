// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// uplink is a device by which a node's packets of one family leave.
type uplink struct {
	netns uint32
	iface string
	v4    bool
}

// uplinks are what passes the nodes' devices, of which it is known how the answers come back.
type uplinks struct {
	masks bounded.Map[uplink, bool] // packets of others left with the node's address as their source
	back  bounded.Map[uplink, bool] // answers came for others' own addresses: the network has a route to them
	// answers are for whom connections were answered where there is no connection tracking, so that nothing is translated.
	answers bounded.Map[uplinkAnswer, bool]
}

// uplinkAnswer is for whom an answer came.
type uplinkAnswer struct {
	at uplink
	to netip.Addr
}

// routedBack reports whether the network beyond has a route to others than the node.
func (st *State) routedBack(at uplink) bool {
	if _, back := st.uplinks.back.Get(at); back {
		return true
	}
	for a := range st.uplinks.answers.All() {
		if a.at == at && !st.isLocal(at.netns, a.to) {
			return true
		}
	}
	return false
}

// learn takes in a packet at a device.
func (u *uplinks) learn(e event.Event, h event.Hop) {
	c := h.Conntrack
	if e.Iface == "" {
		return
	}
	at := uplink{e.Netns, e.Iface, e.Packet.Src.Is4()}
	switch {
	case c == nil:
		if e.Direction == event.In && e.Packet.HasFlag('S') && e.Packet.HasFlag('.') {
			u.answers.Put(uplinkAnswer{at, e.Packet.Dst}, true)
		}
	case e.Direction == event.Out && c.SNAT() && c.Reply.Dst.Addr() == e.Packet.Src:
		u.masks.Put(at, true)
	case e.Direction == event.In && !c.SNAT() && c.Original.Src.Addr() == e.Packet.Dst && !e.Packet.IsICMPError():
		u.back.Put(at, true)
	}
}

// unanswered is a packet of a client that got no answer.
type unanswered struct {
	client      netip.Addr
	clientNetns uint32
	last        *event.Sight
	peer        event.Pod // who was asked, as far as that is known
}

// notMasqueraded makes of a finding about a client that gets no answers the one that its packets leave the node with its own
// address, where nothing shows that the network beyond has a route to it. That the source is not translated is what conntrack's
// entry says behind the last hook; that this is why nothing comes back follows where others are, or the destination is
// on the Internet, and is a hint elsewhere.
func (st *State) notMasqueraded(f event.Finding, u unanswered) event.Finding {
	s := u.last
	if s == nil || s.Direction != event.Out || s.Netns == u.clientNetns || u.clientNetns == 0 || s.Carrier != nil || s.Conntrack.SNAT() ||
		s.Flow.Src.Addr() != u.client || !isPrivate(u.client) || u.peer.Name != "" || f.Severity == event.Info {
		return f
	}
	at := uplink{s.Netns, s.Iface, u.client.Is4()}
	own, ok := st.ownAddress(at, u.client)
	if !ok || st.routedBack(at) {
		return f
	}
	to := s.Flow.Dst.Addr()
	_, masks := st.uplinks.masks.Get(at)
	f.ID, f.Subject, f.Confidence, f.Severity = "not-masqueraded", fmt.Sprintf("%v by %s in netns %d", u.client, s.Iface, s.Netns), event.Possible, event.Warning
	f.Title = fmt.Sprintf("Packets of %v leave the node by %s with that address as their source, and no answer finds the way back.", u.client, s.Iface)
	f.Cause = "No rule masquerades them, so the answers are for an address that the network beyond must have a route to by this node. Nothing shows that it has; a firewall beyond, or a host that is down, would look the same."
	f.Evidence = append(f.Evidence, fmt.Sprintf("its source is not translated behind POSTROUTING of netns %d, whose %s has %v", s.Netns, s.Iface, own))
	switch {
	case masks:
		f.Confidence, f.Severity = event.Likely, event.Critical
		f.Evidence = append(f.Evidence, fmt.Sprintf("other packets that left by %s were masqueraded", s.Iface))
	case !isPrivate(to) && to.IsGlobalUnicast():
		f.Confidence, f.Severity = event.Likely, event.Critical
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v is an address of the Internet, which has no route to %v", to, u.client))
	}
	f.Remedy = []event.Remedy{
		run(forFamily(u.client, "iptables -t nat -S POSTROUTING")).In(st.enter(s.Netns)).Noting("which sources, devices and destinations are masqueraded"),
		run(forFamily(u.client, "iptables -t nat -A POSTROUTING -s %v -o %v -j MASQUERADE"), u.client, s.Iface).In(st.enter(s.Netns)).Noting("for this pod, until its plugin does so"),
		do("turn on what masquerades pods: ipMasq of the bridge plugin, natOutgoing of Calico's pool, ip-masq-agent's nonMasqueradeCIDRs, FLANNEL_IPMASQ; or give the network's routers a route to the pods by this node"),
	}
	return f
}

// ownAddress is the node's address at a device; ok is false if there is none, or if the client is on the device's link.
func (st *State) ownAddress(at uplink, client netip.Addr) (own netip.Addr, ok bool) {
	d, known := st.devices.Get(deviceKey{at.netns, at.iface})
	if !known || d.Tunnels() || slices.Contains([]string{"ipip", "sit", "gre", "wireguard", "ip6tnl"}, d.Type) {
		return own, false
	}
	for _, p := range d.Addrs {
		switch {
		case p.Masked().Contains(client):
			return own, false
		case p.Addr().Is4() == at.v4 && p.Addr().IsGlobalUnicast():
			own, ok = p.Addr(), true
		}
	}
	return own, ok
}

// isPrivate reports whether an address is one that the Internet has no route to (RFC 1918, RFC 4193, RFC 6598).
func isPrivate(a netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)
	return a.IsPrivate() || shared.Contains(a)
}
