// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// meanings is the table of the kernel's reasons to drop (include/net/dropreason-core.h of 6.18 and 7.x), mac80211's and
// Open vSwitch's by their prefix). Reasons that kernels have by other names are beside theirs.
func meanings() []meaning {
	noise := meaning{harm: elsewhere, reasons: stage.NoiseReasons()} // as far as a reason is nothing else besides
	return append(slices.Concat(explained(), damaged(), queued(), handedOver(), programmed(), forbidden(), ofBridges(), ofDevices(), ofSockets(), ofTCP(), ofIP(), others()), noise)
}

// explained are reasons that proofs, or rules about the sockets' and the connections' own events, conclude from.
func explained() []meaning {
	return []meaning{{harm: elsewhere, reasons: []string{
		"NOT_DROPPED_YET", "SKB_NOT_DROPPED_YET", "NOT_SPECIFIED", "MAX", "SUBSYS_MASK", // no reasons
		reasonNetfilter, "NO_SOCKET", "IP_RPFILTER", "IP_INADDRERRORS", "IP_INNOROUTES", "IP_OUTNOROUTES",
		"IP_LOCAL_SOURCE", "IP_INVALID_SOURCE", "IP_LOCALNET", "IP_INVALID_DEST", "PKT_TOO_BIG",
		"NEIGH_CREATEFAIL", "NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD",
		"TCP_ABORT_ON_DATA", "TCP_TIMEWAIT", // answered by a reset, which the rule for resets reports
		"UNIX_DISCONNECT", "UNIX_SKIP_OOB", "CAN_RX_INVALID_FRAME", "CANFD_RX_INVALID_FRAME", "CANXL_RX_INVALID_FRAME", // no IP
	}}}
}

// reasonNetfilter is netfilter's, as event.Drop.ByNetfilter knows it.
const reasonNetfilter = "NETFILTER_DROP"

// damaged are packets that were changed on their way.
func damaged() []meaning {
	return []meaning{{
		reasons: []string{"TCP_CSUM", "UDP_CSUM", "IP_CSUM", "ICMP_CSUM", "SKB_CSUM"},
		id:      "checksum-error", harm: faulty,
		title: "{proto} packets arrive at {at} with a bad checksum and are dropped ({reason}).",
		cause: "Their sender, or a device on the path, wrote no checksum or a wrong one: most often checksum offload of a network card or a tunnel, " +
			"or something rewrites packets and not their checksum.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("nstat -az UdpInCsumErrors TcpInCsumErrors IpInHdrErrors Udp6InCsumErrors")).Noting("how fast it rises"),
				s.in(run("ethtool -K %v rx off tx off", s.device)).Noting("at both ends, one at a time: which offload it is"),
				pipe(run("ip -br link show type vxlan"), run("cut -f1 -d %v", " "), run("xargs -I@ ethtool -K @ tx-checksum-ip-generic off")).Noting("of VXLAN: at the sender"),
			}
		},
	}, {
		reasons: []string{"PKT_TOO_SMALL", "HDR_TRUNC", "IP_INHDR", "IPV6_BAD_EXTHDR", "IPV6_TOO_MANY_EXTHDRS", "UNICAST_IN_L2_MULTICAST", "SKB_BAD_GSO"},
		id:      kernelDrop, harm: faulty,
		title: "Packets for {dst} are malformed, and dropped at {at} ({reason}).",
		cause: "Their headers are cut off, contradict their length, or are not allowed there: their sender, or a device on the path, damages them.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				run("ktrace capture -i %v -w broken.pcapng host %v", s.device, s.dst).Noting("then look at the headers"),
				s.in(run("nstat -az IpInHdrErrors IpInTruncatedPkts Ip6InHdrErrors")),
			}
		},
	}}
}

// handedOver are packets that a rule of netfilter gave to a program, as some plugins have them judged by network policies.
func handedOver() []meaning {
	const cause = "kube-network-policies, kindnet and intrusion prevention judge new connections by programs that rules hand their first packets to (NFQUEUE). "
	of := func(e event.Event) string { return fmt.Sprintf("%s queues in netns %d", e.Packet.Family, e.Netns) }
	remedy := func(s scene) []event.Remedy {
		return []event.Remedy{
			s.in(run("cat /proc/net/netfilter/nfnetlink_queue")).Noting("queue, PID of its program, waiting, .., dropped for want of room, not taken"),
			s.in(pipe(run("nft list ruleset"), run("grep -n queue"))).Noting("the rules"),
			s.in(pipe(run(forFamily(s.dst, "iptables-save")), run("grep NFQUEUE"))),
			run("kubectl get networkpolicies -A").Noting("which select the pod, and what they allow"),
			pipe(run("kubectl get pods -A -o wide"), run("grep -e kube-network-policies -e kindnet")).Noting("is the node's own running?"),
		}
	}
	return []meaning{{
		functions: []string{"nf_queue"}, id: "netfilter-drop", harm: loss, subject: of, remedy: remedy,
		title: "A firewall rule queues packets to {dst} for a program (NFQUEUE){judge} that does not read them: they are dropped.",
		cause: cause + "No program is bound to the queue, or the queue is full, and the rule has no bypass.",
	}, {
		functions: []string{"nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict", "nfqnl_recv_verdict_batch"}, id: "netfilter-drop", harm: loss, subject: of, remedy: remedy,
		title: "A program for which a firewall rule queues packets (NFQUEUE){judge} drops packets to {dst}.",
		cause: cause + "A network policy that selects a pod denies all that no policy for it allows.",
	}}
}

// queuePrefix is that of a device's queue, reasonNotReady that of a device that is not up.
const (
	queuePrefix    = "QDISC_"
	reasonNotReady = "DEV_READY"
)

// queued are packets for which a queue had no room.
func queued() []meaning {
	remedy := func(s scene) []event.Remedy {
		return []event.Remedy{
			s.in(run("tc -s qdisc show dev %v", s.device)).Noting("dropped, overlimits, backlog"),
			pipe(run("kubectl get pods -A -o yaml"), run("grep -e egress-bandwidth: -e ingress-bandwidth:")).Noting("annotations of pods that limit them"),
			do("raise the limit that shapes the device: that annotation, tbf's rate and latency, or the queue's limit"),
		}
	}
	return []meaning{{
		reasons: []string{"QDISC_DROP", "QDISC_BURST_DROP", "QDISC_OVERLIMIT", "QDISC_CONGESTED", "QDISC_SFQ_MAXFLOWS", "QDISC_SFQ_MAXDEPTH",
			"CAKE_FLOOD", "FQ_BAND_LIMIT", "FQ_HORIZON_LIMIT", "FQ_FLOW_LIMIT", "DUALPI2_STEP_DROP"},
		prefix: queuePrefix, functions: []string{"__dev_xmit_skb", "kfree_skb_list", "kfree_skb_list_reason"},
		id: "queue-drop", harm: congestion,
		title:  "The queue of {at} drops packets to {dst}: it is full, or shaped to a rate that is too low for what is sent ({reason}).",
		cause:  "The device's queueing discipline had no room. A few such drops are how TCP finds out the rate; with many, transfers crawl.",
		remedy: remedy,
	}, {
		reasons:   []string{"CPU_BACKLOG"},
		functions: []string{"enqueue_to_backlog"},
		id:        "queue-drop", harm: congestion,
		title: "A CPU's backlog of received packets is full, so packets for {dst} are dropped at {at}.",
		cause: "Packets arrive faster than one CPU takes them from its queue: its limit is net.core.netdev_max_backlog, or all flows come to one CPU.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				run("cat /proc/net/softnet_stat").Noting("a line per CPU, hexadecimal: packets, drops, ran out of time"),
				run("sysctl -w net.core.netdev_max_backlog=10000"),
			}
		},
	}, {
		reasons: []string{"FULL_RING", "MACVLAN_BROADCAST_BACKLOG", "IPVLAN_MULTICAST_BACKLOG"},
		id:      "queue-drop", harm: congestion,
		title: "The ring of {at} is full, so packets for {dst} are dropped ({reason}).",
		cause: "The reader of the device, a virtual machine or a program at a tap device, does not read fast enough, or hangs.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ip -s -s link show dev %v", s.device)).Noting("dropped"),
				s.in(run("ip link set %v txqueuelen 10000", s.device)).Noting("a longer queue; more CPU for its reader helps, too"),
			}
		},
	}}
}

// programmed are packets that BPF programs and filters of tc took.
func programmed() []meaning {
	ofCgroup := func(s scene) []event.Remedy {
		return []event.Remedy{
			s.cgroupTree().Noting("which group has which program"),
			run("grep -rn -e IPAddressDeny -e IPAddressAllow /etc/systemd /run/systemd /usr/lib/systemd").Noting("units whose traffic systemd filters"),
		}
	}
	return []meaning{{
		reasons: []string{"TC_INGRESS", "TC_EGRESS", "TC_COOKIE_ERROR", "TC_CHAIN_NOTFOUND", "TC_RECLASSIFY_LOOP"}, prefix: "TC_",
		id: "bpf-drop", harm: faulty,
		title: "A filter or program of tc at {at}{program} drops packets to {dst} ({reason}).",
		cause: "A BPF program or a filter at the device drops the packet: a network plugin's policy or bandwidth limit, or a program left behind.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("bpftool net show dev %v", s.device)).Noting("programs at tc, tcx and XDP"),
				s.in(run("tc -s filter show dev %v ingress", s.device)), s.in(run("tc -s filter show dev %v egress", s.device)),
			}
		},
	}, {
		reasons: []string{"XDP"}, functions: event.XDPFunctions(),
		id: "bpf-drop", harm: faulty,
		title: "An XDP program at {at}{program} drops packets to {dst}.",
		cause: "The program returns XDP_DROP or XDP_ABORTED: a network plugin's, a load balancer's, or one left behind.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("bpftool net show dev %v", s.device)).Noting("the program"), s.in(run("ip -d link show dev %v", s.device)).Noting("xdp, xdpgeneric"),
			}
		},
	}, {
		reasons: []string{"BPF_CGROUP_EGRESS"}, functions: event.CgroupFunctions(),
		id: "bpf-drop", harm: faulty,
		title:  "A BPF program of the sender's control group{program} drops its packets to {dst} at {at}.",
		cause:  "A program at cgroup_skb/egress does not allow the packet to be sent: systemd's IPAddressDeny, a runtime's or a policy engine's.",
		remedy: ofCgroup,
	}, {
		reasons: []string{"SOCKET_FILTER"},
		id:      "bpf-drop", harm: faulty, sure: event.Likely,
		title:  "A BPF program of the receiver's control group{program} drops packets to {dst} at {at}.",
		cause:  "A program at cgroup_skb/ingress does not allow the packet to be received: systemd's IPAddressDeny, a runtime's or a policy engine's. A filter of the socket's own would look the same; few have one.",
		remedy: ofCgroup,
	}}
}

// forbidden are packets that security modules, IPsec's policies and the filters of tap devices took.
func forbidden() []meaning {
	return []meaning{{
		reasons: []string{"SECURITY_HOOK"},
		id:      kernelDrop, harm: faulty,
		title: "A security module of the kernel drops packets to {dst} at {at}.",
		cause: "SELinux, Smack, AppArmor or a BPF LSM program does not allow the packet; labels of the sender and the receiver decide.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{run("ausearch -m avc -ts recent"), run("cat /sys/kernel/security/lsm")}
		},
	}, {
		reasons: []string{"XFRM_POLICY"},
		id:      kernelDrop, harm: faulty,
		title: "An IPsec policy drops packets to {dst} at {at}: they came in the clear, or by no policy that allows them.",
		cause: "The xfrm policies of the namespace ask for encryption that the packet did not have, or their states do not match.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ip -s xfrm policy")), s.in(run("ip -s xfrm state")), s.in(run("cat /proc/net/xfrm_stat")),
			}
		},
	}, {
		reasons: []string{"PSP_INPUT", "PSP_OUTPUT"},
		id:      kernelDrop, harm: faulty,
		title:  "Packets to {dst} do not pass the PSP encryption's checks at {at} ({reason}).",
		cause:  "The connection is encrypted by PSP, and the packet has the wrong key.",
		remedy: func(s scene) []event.Remedy { return []event.Remedy{s.in(run("ip -d link show dev %v", s.device))} },
	}, {
		reasons: []string{"TAP_FILTER", "TAP_TXFILTER"},
		id:      kernelDrop, harm: normal,
		title: "The filter of the tap device at {at} drops packets to {dst}.",
		cause: "The program that made the device, mostly a virtual machine's monitor, attached a filter for addresses.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{s.in(run("ip -d tuntap show")).Noting("who has it")}
		},
	}}
}
