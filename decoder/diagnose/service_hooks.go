package diagnose

import (
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// natHooks says whether the rules that translate services had their turn at a packet that died. They have it at two hooks:
// prerouting, behind XDP, tc, bridges and the raw table and before routing, and output, behind routing and before
// neighbours and queues.
type natHooks uint8

const (
	natHooksUnknown    natHooks = iota
	natHooksNotReached          // it died before it came to them
	natHooksPassed              // they left it as it was, or conntrack never had it
)

// natHooksOf concludes from conntrack's mark that the rules were asked, from netfilter's own word, or from the place: what routing
// gave up came through prerouting. What a pod's own namespace has of rules, a mesh's for one, is not meant for services.
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

// translates reports whether a namespace is one whose rules are for services: the node's own, or one that has some.
func (st *State) translates(netns uint32) bool {
	return netns == st.node.Netns || st.serviceNetns[netns]
}

// routed reports whether it was routing, or what comes behind it, that gave the packet up. Where the kernel gives no
// reason, the function shows it.
func routed(d event.Drop) bool {
	reasons := []string{"IP_INNOROUTES", "IP_OUTNOROUTES", "IP_INADDRERRORS", "IP_RPFILTER", "PKT_TOO_BIG"}
	functions := []string{"ip_error", "ip_forward", "ip6_forward", "ip6_pkt_drop", "ip6_pkt_discard", "dst_discard",
		"ip_route_input_slow", "ip_rcv_finish_core", "neigh_invalidate", "arp_error_report", "ndisc_error_report"}
	return slices.Contains(reasons, d.Reason) || strings.HasPrefix(d.Reason, "NEIGH_") || slices.Contains(functions, d.Location)
}

// delivered reports whether the packet died in the protocol or the socket that it was for: the address that it had was
// the namespace's own.
func delivered(d event.Drop) bool {
	return d.NoSocket() || d.Reason == "UDP_CSUM" || d.Reason == "PROTO_MEM" || strings.HasPrefix(d.Reason, "SOCKET_") ||
		strings.HasPrefix(d.Reason, "TCP_")
}

// owns reports whether an address is one of a namespace's own, as far as that is known.
func (st *State) owns(netns uint32, a netip.Addr) bool {
	return st.deviceOf(netns, a) != ""
}

// isLocal reports whether packets to an address end in the namespace that has it, untranslated as they should be.
func (st *State) isLocal(netns uint32, a netip.Addr) bool {
	device := st.deviceOf(netns, a)
	return device != "" && device != ipvsDevice
}

// deviceOf is the device of a namespace that has an address, "" if none is known to.
func (st *State) deviceOf(netns uint32, a netip.Addr) string {
	for key, device := range st.devices.All() {
		if key.netns == netns && slices.ContainsFunc(device.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return device.Name
		}
	}
	return ""
}

// ipvsDevice has the addresses of all services where kube-proxy works with IPVS, so that what IPVS does not translate is
// delivered there.
const ipvsDevice = "kube-ipvs0"

// hookOf is where a namespace's rules for destinations are asked about the packets of a sender.
func (st *State) hookOf(netns uint32, src netip.Addr) string {
	if st.owns(netns, src) {
		return "output"
	}
	return "prerouting"
}
