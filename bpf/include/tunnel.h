/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tunnels between nodes: VXLAN, Geneve, IP in IP. Types and functions only. */
#ifndef KTRACE_TUNNEL_H
#define KTRACE_TUNNEL_H

#include "skb.h"

#define PORT_VXLAN	 4789 /* IANA */
#define PORT_VXLAN_LINUX 8472 /* from before the IANA assignment; the default of Flannel and Cilium */
#define PORT_GENEVE	 6081

/* The header of VXLAN (RFC 7348) and of Geneve (RFC 8926). */
struct tunnel_header {
	__u8 first; /* VXLAN: flags; Geneve: version, length of the options in words */
	__u8 flags;
	__be16 type; /* Geneve: EtherType of the payload; VXLAN: 0, or a group policy id */
	__be32 vni;
};

#define VXLAN_HAS_VNI  0x08
#define GENEVE_VERSION 0xc0
#define ETH_P_TEB      0x6558 /* Ethernet */
#define ETH_HLEN       14

/* The offset of the inner IP packet of VXLAN or Geneve from the network header, 0 if there is none. */
static __always_inline __u32 udp_inner_offset(const struct packet *p)
{
	struct tunnel_header h;
	__u32 at = p->data;
	__be16 type;

	if (p->linear < at + sizeof(h) || bpf_probe_read_kernel(&h, sizeof(h), p->l3 + at))
		return 0;
	at += sizeof(h) + ETH_HLEN;
	if (h.type == bpf_htons(ETH_P_TEB) && !(h.first & GENEVE_VERSION))
		at += h.first * 4;
	else if (!(h.first & VXLAN_HAS_VNI))
		return 0;
	if (p->linear < at || bpf_probe_read_kernel(&type, sizeof(type), p->l3 + at - sizeof(type)))
		return 0;
	return type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6) ? at : 0;
}

/* Whether the packet's protocol may be a tunnel's. */
static __always_inline bool may_encapsulate(const struct packet *p)
{
	switch (p->t.proto) {
	case IPPROTO_UDP:
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
	case IPPROTO_GRE:
		return !p->fragment;
	}
	return false;
}

#endif
