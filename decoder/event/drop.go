// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder/wire"
)

// KindDrop is a packet that was dropped.
const KindDrop Kind = "drop"

// Drop is a packet that the kernel threw away.
type Drop struct {
	Reason      string     `json:"reason"`   // by the name that this kernel gives it, not-reported before 5.17
	Location    string     `json:"location"` // function that gave the packet up
	Netfilter   *RuleFact  `json:"netfilter,omitempty"`
	Verdict     string     `json:"verdict,omitempty"`      // of netfilter: drop, reject
	Rejected    bool       `json:"rejected,omitempty"`     // the rule that answers the sender said so itself
	Answer      *Answer    `json:"answer,omitempty"`       // what its sender was answered; nil: nothing
	Lost        *Gap       `json:"lost_records,omitempty"` // without an answer: among these may have been one
	Noise       string     `json:"noise,omitempty"`        // why it is no loss; "" if it is one
	Conntrack   *Conntrack `json:"conntrack,omitempty"`
	SocketNetns uint32     `json:"socket_netns,omitempty"` // of the socket that was to have it, where that is known
	ForgedBy    string     `json:"forged_by,omitempty"`    // who else sends what looks like it; "" if none is known

	Code    uint32 `json:"-"` // the kernel's number of the reason
	Address uint64 `json:"-"` // in the function

	Handmade bool `json:"-"` // as of Hop; SocketNetns is its sender's where the packet was for no socket

	Hook string `json:"-"` // of netfilter, as that said itself: Netfilter.Hook; "" if it did not

	Named bool `json:"-"` // by Names of the node that dropped it
}

// ReasonNotReported stands for the reason on kernels that give none (before 5.17).
const ReasonNotReported = "not-reported"

// Unexplained is whether the kernel gave no reason: those before 5.17 never do, and others not everywhere.
func (d Drop) Unexplained() bool { return d.Reason == ReasonNotReported || d.Reason == "NOT_SPECIFIED" }

// Verdicts of netfilter on a packet that is gone.
const (
	VerdictDrop   = "drop"
	VerdictReject = "reject"
)

// Kind implements Body.
func (Drop) Kind() Kind { return KindDrop }

// Summary implements Body.
func (d Drop) Summary() string { return fmt.Sprintf("%s in %s", d.Reason, d.Location) }

// Columns implements Tabular.
func (Drop) Columns() []Column {
	return []Column{{"REASON", 16}, {"FUNCTION", 22}, {"WHERE", 24}, {"PACKET", 0}}
}

// Row implements Tabular.
func (d Drop) Row(e Event) []string {
	packet := ""
	if e.Packet != nil {
		packet = e.Packet.String()
	}
	switch {
	case d.Answer != nil:
		packet += ", answered " + d.Answer.String()
	case d.Lost != nil:
		packet += ", answered or not: records were lost"
	case d.Noise != "":
		packet += ", no loss: " + d.Noise
	}
	if d.Netfilter != nil {
		packet += ", " + d.Netfilter.named()
	}
	return []string{d.Reason, d.Location, Place(e), packet}
}

// Rule names the rule; zero if no more than its hook is known.
func (r *RuleFact) Rule() FilterRule {
	if r.Chain == "" {
		return FilterRule{}
	}
	return FilterRule{r.System, r.Family, r.Table, r.Chain, r.Number, r.Handle, r.Text}
}

// String is where the rule is and what it says; or at which hook, if the rule is not known.
func (r *RuleFact) String() string {
	if r.Chain == "" {
		return "hook " + r.Hook
	}
	return fmt.Sprintf("%s %s %s: %s", r.System, r.Table, r.Chain, r.Text)
}

// named is the same in the middle of a sentence.
func (r *RuleFact) named() string {
	if r.Chain == "" {
		return r.String()
	}
	return "rule " + r.String()
}

func decodeDrop(raw []byte, e *Event) error {
	var r wire.Path
	r.Decode(raw)
	pathHeader(&r, e)
	e.Body = Drop{
		Reason:      fmt.Sprintf("unknown(%#x)", r.Reason),
		Location:    fmt.Sprintf("unknown(%#x)", r.Location),
		Conntrack:   pathConntrack(&r),
		SocketNetns: r.SocketNetns,
		Handmade:    r.Handmade != 0,
		Code:        r.Reason,
		Address:     r.Location,
	}
	return nil
}

// ByNetfilter reports whether a hook of netfilter threw the packet away. Kernels without reasons show it by the
// function; since 6.12, and in 6.1.y, rules of nftables free it in nft_do_chain (NF_DROP_REASON).
func (d Drop) ByNetfilter() bool {
	return d.Reason == ReasonNetfilter || d.Location == "nf_hook_slow" || d.Location == "nft_do_chain"
}

// NoSocket reports that no socket was bound to the destination. Without reasons the function shows it, which drops for
// broken checksums, too.
func (d Drop) NoSocket() bool {
	functions := []string{"__udp4_lib_rcv", "__udp6_lib_rcv", "tcp_v4_rcv", "tcp_v6_rcv"}
	return d.Reason == ReasonNoSocket || d.Reason == ReasonNotReported && slices.Contains(functions, d.Location)
}

// NoNeighbour reports that the next host did not answer with its link address. IPv6 drops without a reason then.
func (d Drop) NoNeighbour() bool {
	functions := []string{"neigh_invalidate", "arp_error_report", "ndisc_error_report"}
	return strings.HasPrefix(d.Reason, "NEIGH_") || slices.Contains(functions, d.Location)
}

// NoWay reports that the packet was no address's of this host, and that the host had no way for it or does not pass
// packets on; a route may say so, too: the last two functions are where blackhole routes lead.
func (d Drop) NoWay() bool {
	reasons := []string{"IP_INNOROUTES", "IP_OUTNOROUTES", "IP_INADDRERRORS"}
	functions := []string{"ip_error", "ip6_pkt_drop", "ip6_pkt_discard", "ip6_pkt_discard_out", "dst_discard", "dst_discard_out"}
	return slices.Contains(reasons, d.Reason) || slices.Contains(functions, d.Location)
}

// ByXDP reports that an XDP program took the packet. The function shows it: reason XDP is that of a redirect that failed.
func (d Drop) ByXDP() bool {
	return d.Reason == "XDP" || d.Unexplained() && slices.Contains(XDPFunctions(), d.Location)
}

// XDPFunctions are those that free a packet for the verdict XDP_DROP: the kernel's own, for any device, and that of veth.
func XDPFunctions() []string {
	return []string{"do_xdp_generic", "netif_receive_generic_xdp", "veth_xdp_rcv_skb"}
}

// ByCgroup reports where a program of a control group may have taken the packet, "" if none did: one that is received is
// dropped as by the socket's own filter, which TCP's and UDP's have hardly ever. Before 5.18 the function shows one
// that is sent.
func (d Drop) ByCgroup() string {
	switch {
	case d.Reason == ReasonSocketFilter:
		return AtCgroupIngress
	case d.Reason == "BPF_CGROUP_EGRESS", d.Unexplained() && slices.Contains(CgroupFunctions(), d.Location):
		return AtCgroupEgress
	}
	return ""
}

// CgroupFunctions are those that free a packet which a program of the sender's control group refused.
func CgroupFunctions() []string { return []string{"ip_finish_output", "ip6_finish_output"} }

// MadeUp reports that there was no such packet: to answer RTM_GETROUTE the kernel makes one up, and where there is no
// way it frees it as a drop. A route lookup because of a drop must not be made because of these.
func (d Drop) MadeUp() bool { return d.Location == "inet_rtm_getroute" }

// ReasonNetfilter is the reason of whatever a hook of netfilter threw away.
const ReasonNetfilter = "NETFILTER_DROP"

// ReasonSocketFilter is the reason of what the filter of a socket, or of its control group, did not let pass.
const ReasonSocketFilter = "SOCKET_FILTER"

// ReasonNoSocket is the reason of packets to a port without a socket.
const ReasonNoSocket = "NO_SOCKET"
