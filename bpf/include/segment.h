/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* TCP segments as sockets send and receive them: cgroup_skb/egress and ingress. Each packet passes these hooks once, no
 * matter how many devices it passes, and all of its bytes can be read, linear or paged. Types and functions only. The
 * including file declares struct event with len and taken, and includes netns.h; the bytes of the packet follow the struct.
 */
#ifndef KTRACE_SEGMENT_H
#define KTRACE_SEGMENT_H

#include "event.h"
#include "select.h"
#include "skb.h"

/* The beginning of the structs in linux/bpf.h: ABI. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol; /* big-endian */
	__u32 vlan[3];
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 ends[12];
	__u32 data_meta;
	__u64 flow_keys;
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	struct bpf_sock *sk;
};

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port; /* host order */
	__u32 dst_port; /* big-endian, 16 bits */
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
};

#define SK_PASS 1 /* enum sk_action; 0 drops the packet */

/* A segment at the hook. */
struct segment {
	struct __sk_buff *skb;
	struct bpf_sock *sk;
	__u32 out; /* 1: egress */
	__u32 seq;
	__u32 data;    /* offset of the payload from the network header */
	__u32 payload; /* bytes */
	__u32 offset;  /* in the stream of its direction; set by tls.bpf.c only */
	__u8 src[16];
	__u8 dst[16];
	__u8 flags;
};

/* Reads the headers. False if the packet is not TCP, or has IPv6 extension headers. */
static __always_inline bool parse_segment(struct segment *s)
{
	union {
		struct ipv4_header v4;
		struct ipv6_header v6;
	} ip;
	__u8 tcp[16];

	if (s->skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(s->skb, 0, &ip.v4, sizeof(ip.v4)) || ip.v4.proto != IPPROTO_TCP)
			return false;
		s->data = (ip.v4.version_ihl & 15) * 4;
		map_ipv4(s->src, ip.v4.src);
		map_ipv4(s->dst, ip.v4.dst);
	} else if (s->skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(s->skb, 0, &ip.v6, sizeof(ip.v6)) || ip.v6.next != IPPROTO_TCP)
			return false;
		s->data = sizeof(ip.v6);
		__builtin_memcpy(s->src, ip.v6.src, 16);
		__builtin_memcpy(s->dst, ip.v6.dst, 16);
	} else {
		return false;
	}
	if (bpf_skb_load_bytes(s->skb, s->data, tcp, sizeof(tcp)))
		return false;
	s->seq = bpf_ntohl(*(__u32 *)(tcp + 4));
	s->data += (tcp[12] >> 4) * 4;
	s->flags = tcp[13];
	if (s->skb->len < s->data)
		return false;
	s->payload = s->skb->len - s->data;
	return true;
}

/* The kernel's struct sock, for bpf_probe_read_kernel: the context is a struct sk_buff. */
static __always_inline struct sock *sock_of(const struct segment *s)
{
	struct sk_buff *kernel = (void *)s->skb;

	return BPF_CORE_READ(kernel, sk);
}

static __always_inline bool selected(const struct segment *s)
{
	struct sock *sk = sock_of(s);

	if (!selecting || addr_selected(s->src) || addr_selected(s->dst) ||
	    netns_selected(BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum)))
		return true;
	return cgroup_selected(BPF_CORE_READ(sock_cgroup(sk), kn, id));
}

/* Before a segment's record. */
static __always_inline void announce_segment(const struct segment *s)
{
	struct sock *sk = sock_of(s);

	announce_netns(BPF_CORE_READ(sk, __sk_common.skc_net.net));
}

/* Fills the fields that only this object's record has. */
static __always_inline void fill(struct event *e, const struct segment *s);

static __always_inline void fill_segment(struct event *e, const struct segment *s)
{
	struct sock *sk = sock_of(s);

	e->hdr.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (cgroup_subsys < 0)
		e->hdr.cgroup = BPF_CORE_READ(sock_cgroup(sk), kn, id);
	e->len = s->skb->len;
	fill(e, s);
}

/* Sends a record that begins as head, with n bytes of the packet, if they fit into room: a function's body, used once per
 * size, because bpf_ringbuf_reserve takes constant sizes only.
 */
#define ROOM_FOR(room, kind)                                                                     \
	if (n <= room) {                                                                         \
		e = RESERVE_COPY(struct event, kind, sizeof(struct event) + room, &head,         \
				 sizeof(struct event));                                          \
		if (!e)                                                                          \
			return 0;                                                                \
		/* Both bounds must be visible to the verifier: see tap.bpf.c. */                \
		len = n;                                                                         \
		barrier_var(len);                                                                \
		if (len > 0) {                                                                   \
			barrier_var(len);                                                        \
			if (len <= room && !bpf_skb_load_bytes(s->skb, 0, (void *)(e + 1), len)) \
				e->taken = len;                                                  \
		}                                                                                \
		e->hdr.size = sizeof(struct event) + e->taken;                                   \
		SUBMIT(e);                                                                       \
		return 0;                                                                        \
	}

#endif
