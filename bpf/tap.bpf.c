// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* Whole frames at devices, for captures. TC ingress and egress (tcx, else clsact), attached by user space to the devices
 * that the user chose.
 */
enum kind {
	KIND_PACKET = 7,
};

#include "event.h"
#include "compat.h"

/* The beginning of the struct in linux/bpf.h: ABI. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol; /* big-endian */
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto; /* big-endian */
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
};

#define TC_ACT_UNSPEC (-1) /* TCX_NEXT: the next program decides */

enum tap_direction {
	TAP_IN = 1,
	TAP_OUT = 2,
};

const volatile __u32 tap_snap = 262144; /* bytes to copy of a packet */

struct event {
	struct hdr hdr;
	__u32 len;   /* of the frame, at this hook */
	__u32 taken; /* bytes of it that follow the record */
	__u32 queue;
	__u16 device_type; /* ARPHRD_: whether the frame has an Ethernet header */
	__be16 protocol;   /* EtherType */
	__be16 vlan_proto; /* of a VLAN tag that the NIC or driver removed, 0 if there is none */
	__u16 vlan_tci;
	__u32 packet_type; /* PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST, _OUTGOING of linux/if_packet.h */
	enum tap_direction direction;
	__u32 segment; /* gso_size: GSO will segment the packet, or GRO merged it, by this size; 0 if neither */
};

DEFINE_RING(struct event);

/* Packets lost because the ring buffer was full, by device: netns inode << 32 | ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} tap_lost SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net_device___tap {
	unsigned short type;
};

struct sk_buff___tap {
	unsigned char *head;
	unsigned int end; /* offset from head, on 64-bit machines */
};

struct skb_shared_info {
	unsigned short gso_size;
};

#pragma clang attribute pop

/* Replaced by the user's filter before the program is loaded: see tracer/filterjit. */
__attribute__((noinline)) int packet_filter_l2(struct __sk_buff *skb, __u32 direction)
{
	int pass = 1;

	asm volatile("" : "+r"(pass) : "r"(skb), "r"(direction));
	return pass;
}

/* gso_size in skb_shared_info, which is at skb->end: 0 if the skb is one packet on the wire. */
static __always_inline __u32 segment_of(struct sk_buff___tap *skb)
{
	struct skb_shared_info *shared = (void *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end));

	return BPF_CORE_READ(shared, gso_size);
}

static __noinline void count_lost(struct __sk_buff *skb)
{
	struct sk_buff *kernel = (void *)skb;
	__u64 key = (__u64)BPF_CORE_READ(kernel, dev, nd_net.net, ns.inum) << 32 | skb->ifindex, none = 0, *n;

	bpf_map_update_elem(&tap_lost, &key, &none, BPF_NOEXIST);
	n = bpf_map_lookup_elem(&tap_lost, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline void fill(struct event *e, struct __sk_buff *skb, enum tap_direction direction)
{
	struct sk_buff *kernel = (void *)skb; /* the context is a struct sk_buff */
	struct net_device *dev = BPF_CORE_READ(kernel, dev);

	e->hdr.ifindex = skb->ifindex;
	e->hdr.netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	e->device_type = BPF_CORE_READ((struct net_device___tap *)dev, type);
	e->len = skb->len;
	e->queue = skb->queue_mapping;
	e->protocol = skb->protocol;
	e->packet_type = skb->pkt_type;
	if (skb->vlan_present) {
		e->vlan_proto = skb->vlan_proto;
		e->vlan_tci = skb->vlan_tci;
	}
	e->direction = direction;
	e->segment = segment_of((void *)skb);
}

/* Sizes of records: bpf_ringbuf_reserve takes constant sizes only, and the largest for each packet would waste the ring
 * buffer.
 */
#define ROOMS(of) \
	of(64) of(128) of(256) of(512) of(1024) of(1600) of(4096) of(9216) of(24576) of(65664) of(262144)

#define ROOM_FOR(room)                                                                                                  \
	if (n <= room) {                                                                                                \
		e = RESERVE_SEEN(struct event, KIND_PACKET, sizeof(struct event) + room,                                \
				 sizeof(struct event));                                                                 \
		if (!e)                                                                                                 \
			return count_lost(skb);                                                                         \
		fill(e, skb, direction);                                                                                \
		/* The helper takes no length of 0, and both bounds must be plain to the verifier: before 6.8 it      \
		 * draws nothing from n != 0, which the compiler makes of n > 0, nor from a joint check of both. */ \
		len = n;                                                                                                \
		barrier_var(len);                                                                                       \
		if (len > 0) {                                                                                          \
			barrier_var(len);                                                                               \
			if (len <= room && !bpf_skb_load_bytes(skb, 0, (void *)(e + 1), len))                           \
				e->taken = len;                                                                         \
		}                                                                                                       \
		e->hdr.size = sizeof(struct event) + e->taken;                                                          \
		SUBMIT(e);                                                                                              \
		return;                                                                                                 \
	}

static __always_inline void send(struct __sk_buff *skb, enum tap_direction direction)
{
	__u32 n = skb->len;
	struct event *e;
	long len;

	if (n > tap_snap)
		n = tap_snap;
	ROOMS(ROOM_FOR)
}

static __always_inline int handle_packet(struct __sk_buff *skb, enum tap_direction direction)
{
	COUNT(KIND_PACKET, seen);
	if (packet_filter_l2(skb, direction))
		send(skb, direction);
	else
		COUNT(KIND_PACKET, filtered);
	return TC_ACT_UNSPEC;
}

SEC("tc/ingress")
int tap_in(struct __sk_buff *skb)
{
	return handle_packet(skb, TAP_IN);
}

SEC("tc/egress")
int tap_out(struct __sk_buff *skb)
{
	return handle_packet(skb, TAP_OUT);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
