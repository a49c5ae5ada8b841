// SPDX-License-Identifier: Apache-2.0

package diagnose

import "ktrace/decoder/event"

// ofBridges are drops of bridges and tunnels.
func ofBridges() []meaning {
	return []meaning{{
		reasons: []string{"LOCAL_MAC", "VXLAN_ENTRY_EXISTS", "MAC_INVALID_SOURCE"},
		id:      "duplicate-address", harm: faulty,
		title: "Frames come in at {at} with a source MAC that cannot come from there, and are dropped ({reason}).",
		cause: "Another station has the device's own MAC, a loop brings its frames back, or a static MAC of another port of the forwarding table comes from here.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(pipe(run("bridge fdb show"), run("sort"), run("uniq -cd"))).Noting("a MAC at two ports"),
				run("ip -br link").Noting("compare the MACs of both nodes' tunnel devices; machines that were cloned may share /etc/machine-id and with it MACs"),
			}
		},
	}, {
		reasons: []string{"VXLAN_INVALID_HDR", "VXLAN_VNI_NOT_FOUND", "IP_TUNNEL_ECN", "TUNNEL_TXINFO"}, prefix: "VXLAN_",
		id: "overlay-blocked", harm: faulty,
		title: "{proto} packets of the overlay network are dropped at {at}: no tunnel device there takes them ({reason}).",
		cause: "They carry another VNI than the tunnel devices of this node have, or a header that these do not accept.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				run("ip -d link show type vxlan").Noting("on both nodes: id, dstport, gbp, external"),
				run("kubectl -n kube-system get pods -o wide").Noting("does the same network plugin run on both, with one configuration?"),
			}
		},
		subject: func(e event.Event) string { return e.Packet.Src.String() + " > " + e.Packet.Destination().String() },
	}, {
		reasons: []string{"NO_TX_TARGET"}, functions: []string{"br_handle_frame_finish", "br_forward", "br_flood", "__br_forward"},
		id: kernelDrop, harm: faulty,
		title: "The bridge has no port to send packets to {dst} on, so they are dropped at {at}.",
		cause: "The port that leads there is down, in another VLAN, isolated, or the one by which the packet came.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("bridge fdb show")), s.in(run("bridge -d link show")), s.in(run("bridge vlan show")),
			}
		},
	}, {
		reasons: []string{"BRIDGE_INGRESS_STP_STATE"},
		id:      kernelDrop, harm: faulty,
		title: "The bridge port of {at} does not forward yet, or is blocked, so packets to {dst} are dropped.",
		cause: "The spanning tree protocol keeps the port listening, learning or blocking: a loop between bridges, or a port that has just come up.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("bridge -d link show dev %v", s.device)).Noting("state"), do("if there is no loop, switch the bridge's spanning tree off (ip link set type bridge stp_state 0)"),
			}
		},
	}}
}

// ofDevices are drops where a packet is handed to a device.
func ofDevices() []meaning {
	return []meaning{{
		reasons: []string{reasonNotReady}, functions: []string{"__dev_forward_skb2"},
		id: kernelDrop, harm: faulty, subject: func(e event.Event) string { return "device " + at(e) },
		title: "The device at {at}, or the other end of it, is not up, so packets to {dst} are dropped.",
		cause: "A device that is down accepts no packets: it is being set up or removed, or it was switched off.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ip -d link show dev %v", s.device)).Noting("state, NO-CARRIER, its peer"), s.in(run("ip link set dev %v up", s.device)),
			}
		},
	}, {
		reasons: []string{"DEV_HDR", "NEIGH_HH_FILLFAIL", "SKB_GSO_SEG"}, prefix: "NEIGH_",
		id: kernelDrop, harm: faulty,
		title: "Packets to {dst} cannot be prepared for {at} and are dropped ({reason}).",
		cause: "The link-layer header could not be written, or a large packet not segmented (GSO): a fault of a driver or of its offload.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ethtool -K %v gso off tso off", s.device)).Noting("does it pass without offload?"), pipe(run("dmesg"), run("tail")),
			}
		},
	}, {
		reasons: []string{"RECURSION_LIMIT"},
		id:      kernelDrop, harm: faulty,
		title: "Packets to {dst} loop between devices and are dropped at {at}.",
		cause: "Devices that are stacked send to each other without end: a tunnel whose own packets are routed into it, or a redirect to itself.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ip route get %v", s.dst)).Noting("does the route to the tunnel's peer lead into the tunnel?"), s.in(run("ip -d link show")),
			}
		},
	}, {
		reasons: []string{"NOMEM", "PFMEMALLOC", "SKB_UCOPY_FAULT"},
		id:      kernelDrop, harm: faulty,
		title: "The kernel has no memory for packets to {dst}, and drops them at {at} ({reason}).",
		cause: "Memory of the node, or of the control group, is used up, so the network has none for its packets.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				run("grep -e MemAvailable -e Slab /proc/meminfo"), pipe(run("dmesg"), run("grep -i -e %v -e oom", "page allocation"), run("tail")), run("sysctl vm.min_free_kbytes"),
			}
		},
	}, {
		reasons: []string{"ARP_PVLAN_DISABLE", "MAC_IEEE_MAC_CONTROL", "PACKET_SOCK_ERROR", "UNHANDLED_PROTO"},
		id:      kernelDrop, harm: normal,
		title: "Frames at {at} are for no protocol or feature that is in use there ({reason}).",
		cause: "No part of the kernel takes them. They are no pod's.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{run("ktrace capture -i %v -w seen.pcapng", s.device).Noting("what they are")}
		},
	}}
}

// ofSockets are what sockets had no room for.
func ofSockets() []meaning {
	return []meaning{{
		reasons: []string{"SOCKET_RCVBUFF"}, functions: []string{"__udp_queue_rcv_skb", "__udpv6_queue_rcv_skb"},
		id: "socket-buffer-full", harm: faulty, subject: socketOf,
		title: "The receive buffer of the socket at {dst} is full: its process does not read fast enough.",
		cause: "Packets arrived for the socket and were dropped because unread data filled its receive buffer.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ss -anpm %v or %v", s.is("dst"), s.is("src"))).Noting("Recv-Q, skmem's d counts drops"),
				do("give the process more CPU, or a larger buffer: SO_RCVBUF, net.core.rmem_max, net.core.rmem_default"),
			}
		},
	}, {
		reasons: []string{"SOCKET_BACKLOG", "PROTO_MEM", "TCP_OFO_QUEUE_PRUNE", "TCP_OFO_DROP"}, functions: []string{"tcp_add_backlog", "tcp_prune_ofo_queue"},
		id: "socket-buffer-full", harm: faulty, subject: socketOf,
		title: "The socket at {dst} has no memory left for what arrives ({reason}).",
		cause: "Its process does not read fast enough, or all sockets of the node together have reached their limit (tcp_mem, udp_mem).",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("cat /proc/net/sockstat")).Noting("mem is in pages"), run("sysctl net.ipv4.tcp_mem net.ipv4.udp_mem").Noting("the limits, in pages"),
				run("nstat -az TcpExtTCPBacklogDrop TcpExtPruneCalled TcpExtTCPRcvQDrop TcpExtOfoPruned"),
			}
		},
	}, {
		reasons: []string{"TCP_LISTEN_OVERFLOW"},
		id:      "accept-queue-full", harm: loss, subject: serverOf,
		title: "The server at {dst} does not accept connections fast enough, and new ones are dropped.",
		cause: "The accept queue of the listening socket is full, so the kernel drops new connections without an answer and clients try again.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ss -ltn")).Noting("Recv-Q is the queue, Send-Q its limit"),
				do("find what holds the process up; a larger backlog (listen, net.core.somaxconn) only helps against bursts"),
			}
		},
	}}
}

// ofTCP are segments that do not fit their connection. TCP has many ways to meet them and mostly deals with them.
func ofTCP() []meaning {
	state := func(s scene) []event.Remedy {
		return []event.Remedy{
			s.in(run("ss -tino %v or %v", s.is("dst"), s.is("src"))).Noting("the connection's state"), s.in(pipe(run("nstat -az"), run("grep -i tcpext"))),
		}
	}
	return []meaning{{
		reasons: []string{"TCP_AUTH_HDR", "TCP_MD5NOTFOUND", "TCP_MD5UNEXPECTED", "TCP_MD5FAILURE", "TCP_AONOTFOUND", "TCP_AOUNEXPECTED",
			"TCP_AOKEYNOTFOUND", "TCP_AOFAILURE"}, prefix: "TCP_AO",
		id: kernelDrop, harm: faulty,
		title: "TCP segments for {dst} fail authentication and are dropped at {at} ({reason}).",
		cause: "One side signs its segments (TCP MD5, TCP-AO: mostly a BGP session), the other does not, or with another key.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(pipe(run("nstat -az"), run("grep -e MD5 -e TCPAO"))), do("compare the passwords of both peers' sessions: of Calico the BGPPeer's, of MetalLB the BGPPeer's passwordSecret"),
			}
		},
	}, {
		reasons: []string{"TCP_RFC7323_TW_PAWS"},
		id:      "connect-no-response", harm: faulty,
		title: "A SYN to {dst} is dropped at {at}: a connection of the same addresses and ports is still in TIME-WAIT.",
		cause: "The new connection's timestamp is older than the last of the old one (PAWS): clients behind one address translation, or a host that was cloned or restarted.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("nstat -az TcpExtPAWSTimewait TcpExtPAWSPassive")),
				do("do not let several hosts share one source address and port: iptables' MASQUERADE --random-fully"),
			}
		},
		subject: serverOf,
	}, {
		reasons: []string{"TCP_MINTTL"},
		id:      kernelDrop, harm: faulty,
		title: "TCP segments for {dst} have passed more routers than their socket allows, and are dropped at {at}.",
		cause: "The socket asks for a least TTL (IP_MINTTL: BGP's TTL security), and the peer is further away or does not send with 255.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				run("ktrace capture -i %v -w ttl.pcapng host %v", s.device, s.dst).Noting("the TTL of what arrives"), do("compare the TTL security (ebgp-multihop) of both peers"),
			}
		},
	}, {
		reasons: []string{"TCP_FLAGS", "TCP_ZEROWINDOW", "TCP_OVERWINDOW", "TCP_RFC7323_PAWS", "TCP_RFC7323_TSECR", "TCP_INVALID_SEQUENCE",
			"TCP_INVALID_END_SEQUENCE", "TCP_INVALID_ACK_SEQUENCE", "TCP_INVALID_SYN", "TCP_CLOSE", "TCP_FASTOPEN", "TCP_ACK_UNSENT_DATA"},
		prefix: "TCP_",
		id:     kernelDrop, harm: normal,
		title:  "TCP segments for {dst} do not fit their connection and are dropped at {at} ({reason}).",
		cause:  "They came too late, twice, outside the window, or for a connection that is at another point. TCP retransmits what was lost by it.",
		remedy: state,
	}}
}

// ofIP are packets that IP cannot deliver.
func ofIP() []meaning {
	return []meaning{{
		reasons: []string{"FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR"}, functions: []string{"ip_expire", "ip6frag_expire_frag_queue"},
		id: kernelDrop, harm: faulty,
		title: "Datagrams for {dst} were sent in fragments that did not all arrive, and are dropped at {at} ({reason}).",
		cause: "A fragment was lost on the path, or a firewall lets only the first pass, since the others have no ports.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("nstat -az IpReasmFails IpReasmTimeout Ip6ReasmFails")),
				do("send less at once: of DNS, an EDNS size of 1232; or let fragments pass"),
			}
		},
	}, {
		reasons: []string{"IP_NOPROTO", "INVALID_PROTO"},
		id:      kernelDrop, harm: faulty,
		title: "{proto} packets for {dst} are of a protocol that nothing handles at {at} ({reason}).",
		cause: "No module or socket for that IP protocol is loaded or open there: a tunnel (IPIP, GRE, ESP) whose device is missing, as a rule.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ip -d link show type ipip")), s.in(run("ip -d link show type gre")), run("modprobe ipip").Noting("for Calico's IPIP, if it is missing"),
			}
		},
	}, {
		reasons: []string{"IPV6_NDISC_FRAG", "IPV6_NDISC_HOP_LIMIT", "IPV6_NDISC_BAD_CODE", "IPV6_NDISC_BAD_OPTIONS"}, prefix: "IPV6_NDISC_",
		id: kernelDrop, harm: faulty,
		title: "Neighbour discovery's messages at {at} are not valid and are dropped ({reason}).",
		cause: "They have passed a router, are fragments or malformed: forged, or made by something that violates RFC 4861.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{run("ktrace capture -i %v -w nd.pcapng icmp6", s.device).Noting("who sends them")}
		},
	}}
}

// others are subsystems that have reasons of their own.
func others() []meaning {
	return []meaning{{
		prefix: "OVS_DROP_",
		id:     kernelDrop, harm: faulty,
		title: "Open vSwitch drops packets to {dst} at {at} ({reason}).",
		cause: "A flow of the switch ends in a drop, a meter, or an action that failed: the network plugin's policy, or a flow that is missing.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				pipe(run("ovs-dpctl dump-flows -m"), run("grep -e drop -e actions:$")), pipe(run("ovs-vsctl list-br"), run("xargs -n1 ovs-ofctl dump-flows")).Noting("which rule counts them"),
			}
		},
	}, {
		prefix: "RX_DROP_",
		id:     kernelDrop, harm: normal,
		title:  "The wireless network drops frames at {at} ({reason}).",
		cause:  "mac80211 cannot use them: duplicates, replays, wrong keys.",
		remedy: func(s scene) []event.Remedy { return []event.Remedy{run("iw dev %v station dump", s.device)} },
	}}
}
