// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"slices"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// noise matches packets that are freed as drops though nothing is lost. Reasons are by the kernel's names; one that a
// kernel does not have matches nothing.
type noise struct {
	why       string
	reasons   []string
	functions []string // that free packets so where the kernel gives no reason
	protocols []string // nil: every one
	flag      byte     // of TCP that the packet has; 0: whatever it has
}

// noises are the known ones, the first that fits counts.
func noises() []noise {
	icmp := []string{"icmp", "icmpv6"}
	return []noise{
		// Older kernels (6.1 does, 6.12 does not) free as a drop whatever message of ICMPv6 they have dealt with.
		{why: "it had served its purpose", reasons: []string{"CONSUMED", "SKB_CONSUMED"}, functions: []string{"icmpv6_rcv"}},
		{why: "it was for another host", reasons: []string{reasonOtherHost, "IPV6_NDISC_NS_OTHERHOST"}},
		{why: "the socket was closed with packets in its queue", reasons: []string{"QUEUE_PURGE", "SOCKET_CLOSE"},
			functions: []string{"sk_stream_kill_queues", "inet_sock_destruct", "skb_queue_purge", "udp_destruct_sock", "udp_destruct_common"}},
		{why: "the socket did not want it: its own filter", reasons: []string{event.ReasonSocketFilter}},
		{why: "its data had come before", reasons: []string{"TCP_OLD_DATA", "TCP_OLD_SEQUENCE", "TCP_OFOMERGE", "DUP_FRAG"}},
		{why: "a newer acknowledgement had come", reasons: []string{"TCP_OLD_ACK", "TCP_TOO_OLD_ACK", "TCP_RFC7323_PAWS_ACK"}},
		{why: "it ended its connection", reasons: []string{"TCP_RESET"}},
		{why: "a reset for a connection that is gone", reasons: []string{event.ReasonNoSocket, "TCP_FLAGS", "TCP_CLOSE", "TCP_INVALID_SEQUENCE"}, flag: 'R'},
		{why: "no socket waits for the answer", reasons: []string{event.ReasonNoSocket}, protocols: icmp},
		{why: "IPv6 is switched off there", reasons: []string{"IPV6DISABLED"}},
	}
}

// NoiseReasons are the kernel's reasons for which packets are freed without a loss, or may be.
func NoiseReasons() []string {
	var all []string
	for _, n := range noises() {
		all = append(all, n.reasons...)
	}
	return all
}

// noiseOf says why a dropped packet is no loss, "" if it is one. Not every copy of what goes to many is wanted.
func (x *Drops) noiseOf(e event.Event, d event.Drop) string {
	p := e.Packet
	if p == nil || d.Noise != "" {
		return d.Noise
	}
	if d.MadeUp() {
		return "it was none: a program asked for a route"
	}
	if p.IsICMP(packet.ICMPRedirect, packet.ICMPv6Redirect) {
		return "a redirect is advice, which NAT does not pass on"
	}
	if d.Reason != event.ReasonNetfilter && (p.Dst.IsMulticast() || p.Dst == broadcast) {
		return "no socket here joined the group"
	}
	if d.Reason == reasonOtherHost && x.tunnels[deviceKey{e.Netns, e.Ifindex}] {
		return "" // a tunnel brings a node what is for it alone: the sender has a wrong MAC
	}
	if _, judged := x.judged.Get(e.Cgroup); judged && d.Reason == event.ReasonSocketFilter && (p.Proto == "tcp" || p.Proto == "udp") {
		return "" // sockets of other protocols, as ping's, have filters of their own
	}
	if d.Unexplained() && d.Location == "tcp_rcv_state_process" && p.Flags == "." && p.DataAt > 0 && p.Len <= uint32(p.DataAt) {
		return "it acknowledged, in a connection whose other half was closed, and that was taken" // 6.18 frees all of these so
	}
	for _, n := range x.noises {
		if n.fits(d) && (n.protocols == nil || slices.Contains(n.protocols, p.Proto)) && (n.flag == 0 || p.HasFlag(n.flag)) {
			return n.why
		}
	}
	return ""
}

// fits is whether the kernel freed a packet for one of the reasons, by its word or by where it did.
func (n noise) fits(d event.Drop) bool {
	return slices.Contains(n.reasons, d.Reason) || d.NoSocket() && slices.Contains(n.reasons, event.ReasonNoSocket) ||
		d.Unexplained() && slices.Contains(n.functions, d.Location)
}
