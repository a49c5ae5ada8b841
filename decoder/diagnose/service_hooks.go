// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// natHooks says whether a dropped packet had passed the NAT hooks, where services are translated: prerouting, after XDP,
// tc, bridges and the raw table and before routing; and output, after routing and before neighbours and queues.
type natHooks uint8

const (
	natHooksUnknown    natHooks = iota
	natHooksNotReached          // it was dropped before them
	natHooksPassed              // no rule matched it, or conntrack has no entry
)

// natHooksOf concludes from conntrack's mark that NAT was done, from netfilter's event, or from the place: what routing
// dropped came through prerouting. Rules in a pod's own namespace, such as a mesh's, are not for services.
func (st *State) natHooksOf(e event.Event, d event.Drop) natHooks {
	own := st.owns(e.Netns, e.Packet.Src)
	_, said := st.netfilterEvent(netfilterKeyOf(event.NetfilterUntranslated, e), d.Conntrack)
	switch {
	case own && !st.translates(e.Netns):
		return natHooksNotReached
	case d.Conntrack.NATDone(), said:
		return natHooksPassed
	case own:
		return natHooksNotReached
	case routed(d):
		return natHooksPassed
	}
	return natHooksUnknown
}

// translates reports whether a namespace's rules are for services: the node's own, or one that has such rules.
func (st *State) translates(netns uint32) bool {
	return netns == st.node.Netns || st.serviceNetns[netns]
}

// routed reports whether routing, or what comes after it, dropped the packet. Where the kernel gives no reason, the
// function shows it.
func routed(d event.Drop) bool {
	reasons := []string{"IP_INNOROUTES", "IP_OUTNOROUTES", "IP_INADDRERRORS", "IP_RPFILTER", "PKT_TOO_BIG"}
	functions := []string{"ip_error", "ip_forward", "ip6_forward", "ip6_pkt_drop", "ip6_pkt_discard", "dst_discard",
		"ip_route_input_slow", "ip_rcv_finish_core", "neigh_invalidate", "arp_error_report", "ndisc_error_report"}
	return slices.Contains(reasons, d.Reason) || strings.HasPrefix(d.Reason, "NEIGH_") || slices.Contains(functions, d.Location)
}

// delivered reports whether the packet was dropped in the protocol or socket that it was for: its destination was the
// namespace's own.
func delivered(d event.Drop) bool {
	return d.NoSocket() || d.Reason == "UDP_CSUM" || d.Reason == "PROTO_MEM" || strings.HasPrefix(d.Reason, "SOCKET_") ||
		strings.HasPrefix(d.Reason, "TCP_")
}

// owns reports whether an address is known to be one of a namespace's own.
func (st *State) owns(netns uint32, a netip.Addr) bool {
	return st.deviceOf(netns, a) != ""
}

// isLocal reports whether packets to an address are delivered in the namespace without translation, as they should be.
func (st *State) isLocal(netns uint32, a netip.Addr) bool {
	device := st.deviceOf(netns, a)
	return device != "" && device != ipvsDevice
}

// deviceOf is the device of a namespace that has an address, "" if none is known.
func (st *State) deviceOf(netns uint32, a netip.Addr) string {
	for key, device := range st.devices.All() {
		if key.netns == netns && slices.ContainsFunc(device.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return device.Name
		}
	}
	return ""
}

// ipvsDevice has the addresses of all services in IPVS mode of kube-proxy: what IPVS does not translate is delivered
// there.
const ipvsDevice = "kube-ipvs0"

// hookOf is the NAT hook that a sender's packets pass in a namespace.
func (st *State) hookOf(netns uint32, src netip.Addr) string {
	if st.owns(netns, src) {
		return "output"
	}
	return "prerouting"
}
