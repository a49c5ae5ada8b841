// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* The path of packets through the node: the devices that each passes (hops), where it is dropped, and the NAT that
 * conntrack applies. tp_btf or raw_tp net_dev_queue, netif_receive_skb, kfree_skb.
 *
 * A packet is recorded if one of these holds:
 * - it is on a journey that was recorded before;
 * - its flow, or the flow that an ICMP error quotes, was recorded before;
 * - it has the view's protocol and port, passes the user's filter, and one of its ends is selected.
 * So packets are followed through NAT to any address and port, and other packets cost no record. How many are followed may
 * be limited: see follow.h.
 *
 * In a tunnel (VXLAN, Geneve, IP in IP) the inner packet counts: it is matched and recognized by its own header. The
 * record has the outer header and the offset of the inner one.
 */
enum kind {
	KIND_HOP = 2,
	KIND_DROP = 3,
};

#include "dnsport.h"
#include "event.h"
#include "follow.h"
#include "select.h"
#include "skb.h"
#include "sock.h"
#include "tunnel.h"
#include "want.h"

enum path_direction {
	DIRECTION_IN = 1,
	DIRECTION_OUT = 2,
} __attribute__((packed));

/* What the view asks for. */
#define WANT_TCP   1
#define WANT_UDP   2
#define WANT_ICMP  4
#define WANT_OTHER 8

const volatile __u32 hop_protocols = 0; /* WANT_ bits */
const volatile __u32 drop_protocols = 0;
const volatile __u32 hop_tcp_flags = 0; /* hops of TCP packets with one of these flags only; 0: all */
const volatile __u32 snap = 0;		/* bytes to copy of a packet at its first hop and at its drop */
const volatile bool filtering = false;	/* the user gave a filter, which was spliced into packet_filter_l3 */

/* What this kernel passes to tracepoint kfree_skb: the reason since 5.17, commit c504e5c2f964 ("net: skb: introduce
 * kfree_skb_reason()"), the socket since 6.11, commit c53795d48ee8 ("net: add rx_sk to trace_kfree_skb").
 */
const volatile bool kfree_skb_has_reason = false;
const volatile bool kfree_skb_has_rx_sk = false;

/* Bytes of the packet in a record: bpf_ringbuf_reserve takes constant sizes only. */
#define ROOM_SMALL 160 /* the headers, inner and outer, with few options */
#define ROOM_LARGE 512

struct event {
	struct hdr hdr;
	struct tuple packet;
	struct tuple original; /* of the conntrack entry, family 0 if there is none */
	struct tuple reply;
	__u64 location; /* of a drop: the return address of the call of kfree_skb */
	__u32 reason;	/* of a drop: enum skb_drop_reason of this kernel */
	__u32 status;	/* of the conntrack entry: IPS_ bits */
	__u32 len;	/* from the network header on */
	__u32 id;
	__u32 socket_netns; /* of the sending or receiving socket, 0 if unknown; of who made what is handmade */
	__u16 fragment;	    /* offset, bytes; the lowest bit: more fragments */
	__u16 l4;	    /* offsets from the network header */
	__u16 data;
	__u16 taken; /* bytes */
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	enum path_direction direction; /* 0 of a drop */
	__u8 handmade;		/* a program wrote its headers: it was sent by a raw or packet socket */
	__u16 inner;		/* offset of the inner packet, 0 if there is none */
	__u8 bytes[ROOM_LARGE]; /* from the network header on */
};

#define HEAD_SIZE offsetof(struct event, bytes)

DEFINE_RING(struct event);

#include "netns.h"

/* One packet on its path through this node. */
struct journey {
	__u64 id;   /* time of its first hop; the lowest bits are the CPU, so that it is unique */
	__u64 last; /* time of its last hop */
	__u64 dev;  /* of the first hop */
	__u32 fingerprint;
	__u32 netns; /* of the last hop, like direction and ttl */
	__u8 direction;
	__u8 ttl;
	__u8 first_direction;
	__u8 first_ttl;
	__u32 flow;   /* flow_hash at the last hop */
	__u32 origin; /* the sender's namespace, if the packet is handmade, else 0 */
	__u32 hidden; /* it is handmade, and was not to be recorded so far */
};

#define JOURNEY_CPUS 64
/* longest pause: a packet waits 3 s for an unresolved neighbour */
#define JOURNEY_AGE_NS (10ULL * 1000 * 1000 * 1000)

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* skb->head; or the skb, if its head was reallocated */
	__type(value, struct journey);
} journeys SEC(".maps");

/* The journey of this CPU's last hop. Forwarding within a namespace is one call chain from device to device, so the next
 * hop on the CPU is the same packet, even if it was copied.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct journey);
} last_journey SEC(".maps");

#define COPY_DELAY_NS (10 * 1000 * 1000) /* from hop to hop; an interrupt may come between */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct tuple); /* normalised: the same for both directions */
	__type(value, __u8);
} flows SEC(".maps");

/* What a program knows of the packet at its hook. */
struct pkt_ctx {
	struct packet p; /* the inner packet, if it is in a tunnel */
	__u32 inner;	 /* its offset in the outer packet, 0 if there is none */
	__u32 ifindex;
	__u64 skb;
	__u64 dev;
	struct sock *sk;
	struct nf_conn *ct;
	__u64 journey;
	__u32 netns;
	__u32 origin; /* as in struct journey */
	__u8 direction;
	bool first;	   /* the first hop of its journey */
	bool reply;	   /* of conntrack's reply direction; valid iff ct */
	bool filter_match; /* it passes the user's filter; valid iff filtering */
	__u8 kind;	   /* KIND_HOP, KIND_DROP */
	__u32 level;	   /* where it is in pkt_ctxs */
	__u32 reason;	   /* of a drop, like location: as in struct event */
	__u64 location;
	struct packet outer; /* valid iff inner */
	struct packet other; /* of parse_other */
	__u64 head[(HEAD_SIZE + 7) /
		   8]; /* of the record: struct event without bytes; of what fill was last called for */
};

/* struct pkt_ctx is in a map because it is too large for the stack, and because the verifier does not track map values
 * through each path of the header parser. Programs on one CPU interrupt each other, so there is one for each level: task,
 * softirq, hardirq, NMI.
 */
#define CTX_LEVELS 4

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CTX_LEVELS);
	__type(key, __u32);
	__uint(value_size, sizeof(struct pkt_ctx));
} pkt_ctxs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} pkt_ctx_level SEC(".maps");

/* The context of a level, for functions that are not static. The verifier checks these once in a program, and static ones
 * for each path that leads to a call: a program of 25,000 checked instructions became one of 9,000. Before 5.12 they
 * take numbers only, and return one.
 */
static __always_inline struct pkt_ctx *ctx_at(__u32 level)
{
	return bpf_map_lookup_elem(&pkt_ctxs, &level);
}

/* Returns a context that is zero up to outer, except for its level, until ctx_put. NULL if the levels are exhausted. */
static __always_inline struct pkt_ctx *ctx_get(void)
{
	__u32 zero = 0, at, *now = bpf_map_lookup_elem(&pkt_ctx_level, &zero);
	struct pkt_ctx *c;

	if (!now || *now >= CTX_LEVELS)
		return 0;
	at = (*now)++;
	c = ctx_at(at);
	if (!c)
		return 0;
	__builtin_memset(c, 0, offsetof(struct pkt_ctx, outer));
	c->level = at;
	return c;
}

static __always_inline void ctx_put(void)
{
	__u32 zero = 0, *now = bpf_map_lookup_elem(&pkt_ctx_level, &zero);

	if (now)
		(*now)--;
}

static __always_inline __u32 protocol_bit(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return WANT_TCP;
	case IPPROTO_UDP:
		return WANT_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return WANT_ICMP;
	}
	return WANT_OTHER;
}

/* Set with the first flow. A node without NAT never sets it, which saves a map lookup per packet. */
bool flows_tracked = false;

static __always_inline bool flow_tracked(const struct tuple *t)
{
	struct tuple key __attribute__((aligned(8)));

	if (!flows_tracked)
		return false;
	normalise(&key, t);
	return bpf_map_lookup_elem(&flows, &key);
}

static __always_inline void track_flow(const struct tuple *t)
{
	struct tuple key __attribute__((aligned(8)));
	__u8 one = 1;

	normalise(&key, t);
	if (bpf_map_lookup_elem(&flows, &key))
		return;
	bpf_map_update_elem(&flows, &key, &one, BPF_ANY);
	flows_tracked = true;
}

/* A pair of addresses that exchange UDP, without ports. Where the view asks for ports, this finds later fragments, which
 * have no ports, and answers from another port than the query's.
 */
#define PAIR 1

static __always_inline void udp_pair_of(struct tuple *pair, const struct tuple *t)
{
	*pair = *t;
	pair->sport = pair->dport = 0;
	pair->zero = PAIR;
}

static __noinline bool udp_pair_tracked(const struct tuple *t)
{
	struct tuple pair __attribute__((aligned(8)));

	if (!ports_wanted || t->proto != IPPROTO_UDP)
		return false;
	udp_pair_of(&pair, t);
	return flow_tracked(&pair);
}

static __noinline int track_udp_pair(const struct tuple *t)
{
	struct tuple pair __attribute__((aligned(8)));

	if (!ports_wanted || t->proto != IPPROTO_UDP)
		return 0;
	udp_pair_of(&pair, t);
	track_flow(&pair);
	return 0;
}

/* Whether this is the first hop after the sending socket: later hops are in another namespace, or skb->sk is NULL. */
static __always_inline bool just_sent(const struct pkt_ctx *c)
{
	return c->direction == DIRECTION_OUT && c->sk && socket_netns(c->sk) == c->netns;
}

/* Whether j is this packet's journey. Buffers are reused, even for packets with equal headers (a retried query). So: the
 * TTL never rises, and the first hop does not come twice. Stacked devices transmit one packet several times.
 */
static __always_inline bool same_packet(const struct journey *j, const struct pkt_ctx *c, __u64 now)
{
	if (now - j->last > JOURNEY_AGE_NS || c->p.ttl > j->ttl)
		return false;
	if (c->direction == j->first_direction && c->dev == j->dev && c->p.ttl == j->first_ttl)
		return !c->direction;
	if (!c->direction && !j->first_direction)
		return false; /* the journey ended with another drop */
	return !just_sent(c) || (j->direction == DIRECTION_OUT && j->netns == c->netns);
}

/* The journey under a key, if it is this packet's. A journey with the same fingerprint but of an earlier packet is
 * deleted: a later hop could not distinguish them.
 */
static __always_inline struct journey *lookup_journey(__u64 key, const struct pkt_ctx *c, __u64 now)
{
	struct journey *j = bpf_map_lookup_elem(&journeys, &key);

	if (!j || j->fingerprint != c->p.fingerprint)
		return 0;
	if (same_packet(j, c, now))
		return j;
	bpf_map_delete_elem(&journeys, &key);
	return 0;
}

/* Whether the packet is of a flow, with its addresses now or before this node's NAT. */
__noinline int same_flow(__u32 level, __u32 flow)
{
	struct pkt_ctx *c = ctx_at(level);
	struct nf_conn *ct;
	struct tuple t;

	if (!c)
		return false;
	if (flow_hash(&c->p.t) == flow)
		return true;
	ct = c->ct;
	if (!ct || c->inner || !(BPF_CORE_READ(ct, status) & IPS_NAT))
		return false;
	if (c->reply)
		read_tuple(&t, REPLY(ct));
	else
		read_tuple(&t, ORIGINAL(ct));
	return flow_hash(&t) == flow;
}

/* The journey of the packet that this one was copied from, into another skb and buffer: IPv6 copies where the next device
 * (a tunnel) needs more headroom: skb_realloc_headroom, or skb_expand_head since 5.15 (commit e415ed3a4b8b).
 */
static __always_inline struct journey *copied_journey(const struct pkt_ctx *c, __u64 now)
{
	struct journey *j;
	__u32 zero = 0;

	if (c->direction != DIRECTION_OUT)
		return 0;
	j = bpf_map_lookup_elem(&last_journey, &zero);
	if (!j || j->fingerprint != c->p.fingerprint || j->netns != c->netns ||
	    now - j->last > COPY_DELAY_NS || c->p.ttl > j->ttl || just_sent(c))
		return 0;
	return j;
}

/* The journey of a packet, NULL if there is none. It is found by skb->head, or by the skb if its head was reallocated. */
static __always_inline struct journey *find_journey(const struct pkt_ctx *c, __u64 now)
{
	struct journey *j = lookup_journey((__u64)c->p.head, c, now);
	__u64 head = (__u64)c->p.head;

	if (j)
		return j;
	j = copied_journey(c, now);
	if (!j)
		j = lookup_journey(c->skb, c, now);
	if (!j || !same_flow(c->level, j->flow))
		return 0;
	if (bpf_map_update_elem(&journeys, &head, j, BPF_ANY))
		LOSE_UNSEEN(KIND_HOP);
	return bpf_map_lookup_elem(&journeys, &head);
}

static __always_inline void set_last_hop(struct journey *j, const struct pkt_ctx *c, __u64 now)
{
	__u32 zero = 0;

	j->last = now;
	j->ttl = c->p.ttl;
	j->flow = flow_hash(&c->p.t);
	if (!c->direction)
		return;
	j->direction = c->direction;
	j->netns = c->netns;
	bpf_map_update_elem(&last_journey, &zero, j, BPF_ANY);
}

/* Whether a program wrote the headers of what a full socket sends: of the transport, all of them, or those in a tunnel, whose outer
 * packet is from the socket's port then. The kernel sends its own resets and ICMP errors by raw sockets too; and ping has one,
 * but that its messages are from it is certain.
 */
static __always_inline bool writes_headers(struct sock *sk, const struct pkt_ctx *c)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family), proto;

	if (family == AF_PACKET || family == AF_XDP)
		return true;
	if (c->inner && c->outer.t.proto == IPPROTO_UDP)
		return BPF_CORE_READ(sk, __sk_common.skc_num) == c->outer.t.sport;
	if (BPF_CORE_READ(sk, sk_type) != SOCK_RAW || BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock))
		return false;
	proto = BPF_CORE_READ(sk, sk_protocol);
	return (proto != IPPROTO_ICMP && proto != IPPROTO_ICMPV6) || is_icmp_error(&c->p);
}

/* The namespace of who wrote a packet's headers, 0 if the kernel did. A packet has its socket until the namespace that it
 * goes to next has received it.
 */
static __always_inline __u32 origin_of(const struct pkt_ctx *c)
{
	struct sock *sk = c->sk;
	__u8 state;

	if (!c->direction || !sk)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return 0; /* not a full socket */
	return writes_headers(sk, c) ? socket_netns(sk) : 0;
}

static __noinline void begin_journey(struct pkt_ctx *c, __u64 now, __u32 origin, bool hidden)
{
	struct journey j = {
		.id = (now & ~(JOURNEY_CPUS - 1ULL)) | (bpf_get_smp_processor_id() & (JOURNEY_CPUS - 1)),
		.dev = c->dev,
		.fingerprint = c->p.fingerprint,
		.first_direction = c->direction,
		.first_ttl = c->p.ttl,
		.origin = origin,
		.hidden = hidden,
	};
	__u64 head = (__u64)c->p.head;

	set_last_hop(&j, c, now);
	c->first = true;
	c->origin = origin;
	c->journey = j.id;
	if (bpf_map_update_elem(&journeys, &head, &j, BPF_ANY) ||
	    bpf_map_update_elem(&journeys, &c->skb, &j, BPF_ANY))
		LOSE_UNSEEN(KIND_HOP);
}

/* Updates the journey of a packet, or begins one. The copy under the skb's address is not updated: it serves one lookup,
 * when skb->head changes.
 */
static __always_inline void update_journey(struct pkt_ctx *c, struct journey *known, __u64 now)
{
	if (!known) {
		begin_journey(c, now, origin_of(c), false);
		return;
	}
	c->journey = known->id;
	c->origin = known->origin;
	c->first = known->hidden;
	known->hidden = false;
	set_last_hop(known, c, now);
}

/* Keeps where a packet is from that is not recorded here, and may be elsewhere: only if its addresses do not say it. */
static __always_inline void follow_unseen(struct pkt_ctx *c, struct journey *known, __u64 now)
{
	__u32 origin;

	if (known) {
		set_last_hop(known, c, now);
		return;
	}
	origin = origin_of(c);
	if (origin)
		begin_journey(c, now, origin, true);
}

/* Whether an address of the conntrack entry, before or after NAT, is selected. After SNAT the packet itself has the
 * node's address.
 */
static __noinline bool selected_translated(struct nf_conn *ct)
{
	struct tuple t;

	if (!ct || !(BPF_CORE_READ(ct, status) & IPS_NAT))
		return false;
	read_tuple(&t, ORIGINAL(ct));
	if (addr_selected(t.src) || addr_selected(t.dst))
		return true;
	read_tuple(&t, REPLY(ct));
	return addr_selected(t.src) || addr_selected(t.dst);
}

static __always_inline bool selected(const struct pkt_ctx *c)
{
	struct cgroup *cgrp;

	if (!selecting || netns_selected(c->netns) || addr_selected(c->p.t.src) || addr_selected(c->p.t.dst))
		return true;
	if (c->inner && (addr_selected(c->outer.t.src) || addr_selected(c->outer.t.dst)))
		return true;
	if (selected_translated(c->ct))
		return true;
	if (!c->sk)
		return false;
	cgrp = sock_cgroup(c->sk);
	return cgroup_selected(BPF_CORE_READ(cgrp, kn, id));
}

/* Replaced by the user's filter before the program is loaded: see tracer/filterjit. */
__attribute__((noinline)) int packet_filter_l3(__u64 data, __u32 room, __u32 len, __u64 about, __u32 ifindex)
{
	int pass = 1;

	asm volatile("" : "+r"(pass) : "r"(data), "r"(room), "r"(len), "r"(about), "r"(ifindex));
	return pass;
}

static __always_inline int filter_at(const struct pkt_ctx *c, __u8 family, const void *data, __u32 room,
				     __u32 len)
{
	__u64 about = family == 4 ? ETH_P_IP : ETH_P_IPV6, at = (__u64)data;

	asm volatile("%0 = -%0; %0 = -%0" : "+r"(at)); /* makes it a scalar for the verifier */
	return packet_filter_l3(at, room, len, about | (__u64)c->direction << 33, c->ifindex);
}

/* Reads the headers of c->other. */
__noinline int parse_other(__u32 level)
{
	struct pkt_ctx *c = ctx_at(level);

	return c && parse_headers(&c->other);
}

/* Replaces the packet by its inner packet at an offset, and stores the outer one. False, and the packet unchanged, if the
 * inner headers are unreadable.
 */
static __noinline bool decapsulate(struct pkt_ctx *c, __u32 at)
{
	__builtin_memset(&c->other, 0, sizeof(c->other));
	c->other.head = c->p.head;
	c->other.l3 = c->p.l3 + at;
	c->other.len = c->p.len - at;
	c->other.linear = c->p.linear - at;
	if (!parse_other(c->level))
		return false;
	c->outer = c->p;
	c->p = c->other;
	return true;
}

/* Reads the headers of the packet that an ICMP error quotes, into c->other. */
static __always_inline bool parse_quoted(struct pkt_ctx *c)
{
	__builtin_memset(&c->other, 0, sizeof(c->other));
	if (c->p.linear < c->p.data)
		return false;
	c->other.l3 = c->p.l3 + c->p.data;
	c->other.linear = c->p.linear - c->p.data;
	return parse_other(c->level);
}

static __always_inline bool has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* Runs the filter on the packet at offset skip with other addresses and ports. skip is 0, or where an ICMP error's quoted
 * packet begins.
 */
__noinline int match_rewritten(__u32 level, __u64 src, __u64 dst, __u32 ports, __u32 skip)
{
	struct pkt_ctx *c = ctx_at(level);
	union {
		__u8 b[64]; /* the part of the packet that the filter sees */
		struct {
			struct ipv4_header ip;
			__u32 ports;
		} v4;
		struct {
			struct ipv6_header ip;
			__u32 ports;
		} v6;
	} h = {};
	__u64 n; /* with 32 bits the compiler compares a copy, and the verifier does not carry the bound over */

	if (!c)
		return false;
	n = c->p.linear - skip;
	if (n > sizeof(h))
		n = sizeof(h);
	barrier_var(n);
	if (n < sizeof(h.v4) || n > sizeof(h) || bpf_probe_read_kernel(&h, n, c->p.l3 + skip))
		return false;
	if (c->p.t.family == 4) {
		bpf_probe_read_kernel(h.v4.ip.src, 4, (void *)src);
		bpf_probe_read_kernel(h.v4.ip.dst, 4, (void *)dst);
		if (has_ports(h.v4.ip.proto) && (h.v4.ip.version_ihl & 15) == 5)
			h.v4.ports = ports;
	} else {
		bpf_probe_read_kernel(h.v6.ip.src, 16, (void *)src);
		bpf_probe_read_kernel(h.v6.ip.dst, 16, (void *)dst);
		if (has_ports(h.v6.ip.next))
			h.v6.ports = ports;
	}
	return filter_at(c, c->p.t.family, &h, n, c->p.len - skip);
}

/* Runs the filter with the addresses and ports of a conntrack tuple; turned: with source and destination swapped. */
static __always_inline bool match_translated(const struct pkt_ctx *c, struct nf_conntrack_tuple *ends,
					     bool turned, __u32 skip)
{
	__u64 src = (__u64)__builtin_preserve_access_index(&ends->src.u3);
	__u64 dst = (__u64)__builtin_preserve_access_index(&ends->dst.u3);
	__u32 sport = BPF_CORE_READ(ends, src.u.all), dport = BPF_CORE_READ(ends, dst.u.all);

	return turned ? match_rewritten(c->level, dst, src, dport | sport << 16, skip)
		      : match_rewritten(c->level, src, dst, sport | dport << 16, skip);
}

/* Matches the user's filter against the packet, the packet that an ICMP error quotes, the outer header of a tunnel, or
 * either of the first two with the addresses before and after NAT.
 */
__noinline int match_filter(__u32 level)
{
	struct pkt_ctx *c = ctx_at(level);
	struct nf_conn *ct;
	bool error, turned;
	__u32 skip;

	if (!c)
		return false;
	error = is_icmp_error(&c->p) && c->p.linear > c->p.data;
	turned = c->reply != error;
	skip = error ? c->p.data : 0;
	ct = c->ct;
	if (filter_at(c, c->p.t.family, c->p.l3, c->p.linear, c->p.len))
		return true;
	if (error && filter_at(c, c->p.t.family, c->p.l3 + skip, c->p.linear - skip, c->p.len - skip))
		return true;
	if (c->inner)
		return filter_at(c, c->outer.t.family, c->outer.l3, c->outer.linear, c->outer.len);
	if (!ct || !(BPF_CORE_READ(ct, status) & IPS_NAT))
		return false;
	return match_translated(c, ORIGINAL(ct), turned, skip) ||
	       match_translated(c, REPLY(ct), !turned, skip);
}

static __always_inline void run_filter(struct pkt_ctx *c)
{
	if (filtering)
		c->filter_match = match_filter(c->level);
}

/* Whether the packet has a port that the view asks for, now or before NAT. */
static __always_inline bool view_matches(const struct pkt_ctx *c)
{
	struct nf_conn *ct = c->ct;
	struct tuple original;

	if (port_wanted(&c->p.t))
		return true;
	if (!ct || !(BPF_CORE_READ(ct, status) & IPS_NAT))
		return false;
	read_tuple(&original, ORIGINAL(ct));
	return port_wanted(&original);
}

#define ICMP_MATCHES 1
#define ICMP_TRACKED 2 /* the flow that it quotes is */

/* The same for the packet that an ICMP error quotes. Other ICMP has no ports: it matches only if the view asks for none.
 * Returns ICMP_ bits.
 */
__noinline int match_icmp(__u32 level)
{
	struct pkt_ctx *c = ctx_at(level);
	int bits;

	if (!c)
		return 0;
	if (!is_icmp_error(&c->p) || !parse_quoted(c))
		return ports_wanted ? 0 : ICMP_MATCHES;
	bits = port_wanted(&c->other.t) ? ICMP_MATCHES : 0;
	return flow_tracked(&c->other.t) ? bits | ICMP_TRACKED : bits;
}

static __always_inline void count_filtered(const struct pkt_ctx *c)
{
	COUNT(c->kind, seen);
	COUNT(c->kind, filtered);
}

/* Whether its TCP sent the packet, a SYN, again. */
static __always_inline bool is_sent_again(const struct pkt_ctx *c)
{
	struct sock *sk = c->sk;

	if (c->p.t.proto != IPPROTO_TCP || !just_sent(c) ||
	    BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_SYN_SENT)
		return false;
	return BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
}

#define LIMIT_APPLIES 1
#define LIMIT_PASSED  2 /* the packet was not followed at its last hop */

/* Whether the number of packets that are followed is limited for this one, as LIMIT_ bits. */
__noinline int limits(__u32 level, __u64 now)
{
	struct pkt_ctx *c = ctx_at(level);

	if (!c || !follow_most || c->kind != KIND_HOP || !is_limited(&c->p))
		return 0;
	return is_passed(&c->p, now) && !just_sent(c) ? LIMIT_APPLIES | LIMIT_PASSED : LIMIT_APPLIES;
}

/* Whether a packet without a journey begins one. */
__noinline int is_followed(__u32 level, __u64 now)
{
	struct pkt_ctx *c = ctx_at(level);

	if (!c || count_packet(&c->p, now) || is_sent_again(c))
		return true;
	pass(&c->p, now);
	return false;
}

/* Whether to record the packet. If so, its journey is found or begun. */
__noinline int should_record(__u32 level)
{
	struct pkt_ctx *c = ctx_at(level);
	__u64 now = bpf_ktime_get_boot_ns();
	bool icmp, known = false, match, wanted, followed;
	struct journey *j;
	int bits, limit;

	if (!c)
		return false;
	limit = limits(level, now);
	if (limit & LIMIT_PASSED) {
		count_filtered(c);
		return false;
	}
	icmp = protocol_bit(c->p.t.proto) == WANT_ICMP;
	if (icmp) {
		bits = match_icmp(level);
		match = bits & ICMP_MATCHES;
		known = bits & ICMP_TRACKED;
	} else {
		match = view_matches(c);
	}
	wanted = match && (!filtering || c->filter_match);
	j = find_journey(c, now);
	followed = j && !j->hidden;
	if (!followed && !icmp && !match)
		known = udp_pair_tracked(&c->p.t);
	if (!followed && !known && (!wanted || selecting) && (icmp || !flow_tracked(&c->p.t))) {
		if (!match)
			return false;
		if (!wanted || !selected(c)) {
			follow_unseen(c, j, now);
			count_filtered(c);
			return false;
		}
	}
	if (limit && !j && !origin_of(c) && !is_followed(level, now)) {
		count_filtered(c);
		return false;
	}
	update_journey(c, j, now);
	return true;
}

/* Whether the packet's sender wrote its headers: what it says is not from the kernel, so its drop says nothing of its flow. */
__noinline int is_handmade(__u32 level)
{
	struct pkt_ctx *c = ctx_at(level);

	return c && origin_of(c);
}

/* Fills in the process that sent the packet, only where that is certain. In a softirq, or after a queue, the current task
 * is unrelated.
 */
static __always_inline void fill_sender(struct event *e, const struct pkt_ctx *c)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct cgroup *own = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	if (!c->first || c->direction != DIRECTION_OUT || sock_cgroup(c->sk) != own)
		return;
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD || netns_of(task) != c->netns ||
	    !sends(current_syscall()))
		return;
	fill_task(&e->hdr);
}

static __always_inline void fill_socket(struct event *e, const struct pkt_ctx *c)
{
	struct sock *sk = c->sk;
	struct cgroup *cgrp;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	e->socket_netns = socket_netns(sk);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return; /* not a full socket: the other fields do not exist */
	if (cgroup_subsys < 0) {
		cgrp = sock_cgroup(sk);
		e->hdr.cgroup = BPF_CORE_READ(cgrp, kn, id);
	}
	fill_sender(e, c);
}

static __always_inline void fill_conntrack(struct event *e, struct nf_conn *ct)
{
	e->status = BPF_CORE_READ(ct, status);
	read_tuple(&e->original, ORIGINAL(ct));
	read_tuple(&e->reply, REPLY(ct));
	if (e->status & IPS_NAT) {
		track_flow(&e->original);
		track_flow(&e->reply);
		track_udp_pair(&e->reply);
		learn_dns_backend(e->original.dport, e->reply.sport,
				  BPF_CORE_READ(ct, ct_net.net, ns.inum) == host_netns);
	}
}

/* The packet as the device has it. */
static __always_inline const struct packet *outer_packet(const struct pkt_ctx *c)
{
	return c->inner ? &c->outer : &c->p;
}

/* Fills in c->head. */
__noinline int fill(__u32 level)
{
	struct pkt_ctx *c = ctx_at(level);
	const struct packet *p;
	struct event *e;

	if (!c)
		return 0;
	p = outer_packet(c);
	e = (void *)c->head;
	__builtin_memset(e, 0, HEAD_SIZE);
	e->hdr.journey = c->journey;
	e->hdr.ifindex = c->ifindex;
	e->packet = p->t;
	e->location = c->location;
	e->reason = c->reason;
	e->len = p->len;
	e->id = p->id;
	e->fragment = p->fragment | p->more;
	e->l4 = p->l4;
	e->data = p->data;
	e->ttl = p->ttl;
	e->tcp_flags = p->tcp_flags;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->inner = c->inner;
	e->direction = c->direction;
	if (c->sk)
		fill_socket(e, c);
	e->handmade = c->origin != 0;
	if (c->origin && (c->direction || !c->sk))
		e->socket_netns = c->origin;
	e->hdr.netns = c->netns;
	if (c->ct)
		fill_conntrack(e, c->ct);
	return 0;
}

/* Sends a record with up to room bytes of the packet. room must be a constant. */
static __always_inline void send(struct pkt_ctx *c, const __u32 room)
{
	struct event *e = RESERVE_COPY(struct event, c->kind, HEAD_SIZE + room, c->head, HEAD_SIZE);
	const struct packet *p = outer_packet(c);
	__u32 n = p->linear;

	if (!e)
		return;
	if (n > room)
		n = room;
	if (room && !bpf_probe_read_kernel(e->bytes, n, p->l3))
		e->taken = n;
	e->hdr.size = HEAD_SIZE + e->taken;
	SUBMIT(e);
}

/* Announces the namespace that fills netns: the device's, or the socket's where there is no device. */
static __always_inline void announce(const struct pkt_ctx *c)
{
	struct net_device *dev = (void *)c->dev;
	struct sock *sk = c->sk;

	if (dev)
		announce_netns(BPF_CORE_READ(dev, nd_net.net));
	else if (sk)
		announce_netns(BPF_CORE_READ(sk, __sk_common.skc_net.net));
}

__noinline int record(__u32 level)
{
	struct pkt_ctx *c = ctx_at(level);
	__u32 want;

	if (!c)
		return 0;
	announce(c);
	want = c->first || c->kind == KIND_DROP ? snap : 0;
	if (want > outer_packet(c)->linear)
		want = outer_packet(c)->linear;
	if (selecting || filtering)
		track_flow(&c->p.t);
	if (c->first && port_wanted(&c->p.t))
		track_udp_pair(&c->p.t);
	if (c->inner) {
		track_flow(&c->outer.t); /* ICMP errors quote the outer packet */
		if (want < ROOM_SMALL)
			want = ROOM_SMALL;
	}
	fill(level);
	if (!want)
		send(c, 0);
	else if (want <= ROOM_SMALL)
		send(c, ROOM_SMALL);
	else
		send(c, ROOM_LARGE);
	return 0;
}

/* The UDP port of this node's tunnels, learned from sent packets; 0 until then. */
__u16 tunnel_port = 0;

/* The offset of the inner packet from the network header of p, 0 if there is none. On transmit the kernel sets
 * skb->encapsulation for any tunnel. On receive only the headers show it.
 */
static __always_inline __u32 find_inner(const bool typed, const struct sk_buff *skb, const struct packet *p)
{
	__u16 port = p->t.dport;
	__u32 at = 0;

	if (p->t.proto == IPPROTO_IPIP || p->t.proto == IPPROTO_IPV6) {
		at = p->l4;
	} else if (port && (port == PORT_VXLAN || port == PORT_VXLAN_LINUX || port == PORT_GENEVE ||
			    port == tunnel_port)) {
		at = udp_inner_offset(p);
	} else if (typed ? BPF_CORE_READ_BITFIELD(skb, encapsulation)
			 : BPF_CORE_READ_BITFIELD_PROBED(skb, encapsulation)) {
		at = p->head + FIELD(typed, skb, inner_network_header) - p->l3;
		if (at <= p->data)
			return 0;
		if (port)
			tunnel_port = port;
	}
	return at < p->linear ? at : 0;
}

/* Reads the headers at p.l3, and those of an inner packet. False if they are unreadable or the protocol is not wanted. */
static __always_inline bool parse(const bool typed, struct pkt_ctx *c, const struct sk_buff *skb,
				  __u32 wanted)
{
	unsigned char *data = FIELD(typed, skb, data);
	__u32 pulled = c->p.l3 - data; /* from skb->data on; negative if that is past the header */
	__u32 at;

	c->skb = (__u64)skb;
	c->p.len = FIELD(typed, skb, len) - pulled;
	c->p.linear = c->p.len - FIELD(typed, skb, data_len);
	if (!parse_l3(&c->p))
		return false;
	if (!may_encapsulate(&c->p)) {
		if (!(protocol_bit(c->p.t.proto) & wanted) || !parse_l4(&c->p))
			return false;
	} else {
		if (!parse_l4(&c->p))
			return false;
		at = find_inner(typed, skb, &c->p);
		if (at && decapsulate(c, at))
			c->inner = at;
		if (!(protocol_bit(c->p.t.proto) & wanted))
			return false;
	}
	return true;
}

static __always_inline void set_conntrack(struct pkt_ctx *c, unsigned long nfct)
{
	c->ct = skb_conntrack(nfct);
	c->reply = (nfct & 7) >= 3; /* IP_CT_IS_REPLY: ABI, linux/netfilter/nf_conntrack_common.h */
}

static __always_inline void record_wanted(struct pkt_ctx *c, enum kind kind)
{
	c->kind = kind;
	if (should_record(c->level))
		record(c->level);
}

static __always_inline bool is_ip(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6);
}

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak; /* 6.2 */

/* A field that is a pointer, of a struct that the verifier trusts. Since 6.2 it looks whether to trust the pointer, too, through
 * all types of the kernel: 1.3 ms for each. Of a struct that it need not trust it does not.
 */
#define POINTER(p, f) \
	(bpf_rdonly_cast ? ((typeof(p))bpf_rdonly_cast(p, bpf_core_type_id_kernel(typeof(*(p)))))->f : (p)->f)

static __always_inline void process_hop(const bool typed, struct pkt_ctx *c, const struct sk_buff *skb,
					__u8 direction)
{
	struct net_device *dev;

	if (typed) {
		/* Before the headers, which have many paths, on each of which the verifier would follow the pointers. */
		dev = POINTER(skb, dev);
		c->sk = POINTER(skb, sk);
	}
	c->direction = direction;
	c->p.head = FIELD(typed, skb, head);
	/* In netif_receive_skb the network header is not set yet; skb->data points to it. */
	c->p.l3 = direction == DIRECTION_IN ? FIELD(typed, skb, data)
					    : c->p.head + FIELD(typed, skb, network_header);
	if (!parse(typed, c, skb, hop_protocols))
		return;
	if (!typed) {
		dev = BPF_CORE_READ(skb, dev);
		c->sk = BPF_CORE_READ(skb, sk);
	}
	c->dev = (__u64)dev;
	if (hop_tcp_flags && c->p.t.proto == IPPROTO_TCP && !(c->p.tcp_flags & hop_tcp_flags) &&
	    (!c->sk || !is_handmade(c->level)))
		return;
	set_conntrack(c, FIELD(typed, skb, _nfct));
	c->netns = typed ? dev->nd_net.net->ns.inum : BPF_CORE_READ(dev, nd_net.net, ns.inum);
	c->ifindex = FIELD(typed, dev, ifindex);
	run_filter(c);
	record_wanted(c, KIND_HOP);
}

static __always_inline int handle_hop(const bool typed, const struct sk_buff *skb, __u8 direction)
{
	struct pkt_ctx *c;

	if (!is_ip(FIELD(typed, skb, protocol)))
		return 0;
	c = ctx_get();
	if (!c)
		return 0;
	process_hop(typed, c, skb, direction);
	ctx_put();
	return 0;
}

struct drop {
	__u64 location;
	__u32 reason;
};

/* Reads a dropped packet, which may be anywhere in the stack: at the network header if that is set, else at skb->data. */
static __always_inline bool parse_dropped(const bool typed, struct pkt_ctx *c, const struct sk_buff *skb)
{
	__u16 offset = FIELD(typed, skb, network_header);

	c->p.head = FIELD(typed, skb, head);
	c->p.l3 = offset && offset != 0xffff ? c->p.head + offset : FIELD(typed, skb, data);
	return parse(typed, c, skb, drop_protocols);
}

static __always_inline void process_drop(const bool typed, struct pkt_ctx *c, const struct sk_buff *skb,
					 const struct drop *d, struct sock *rx_sk)
{
	struct net_device *dev;

	if (typed) /* early: see process_hop */
		c->sk = POINTER(skb, sk);
	if (!parse_dropped(typed, c, skb))
		return;
	/* UDP stores skb->dev_scratch in the same word once it queues the packet (since 4.10,
	 * commit c84d949057ca), so it is never followed by plain loads.
	 */
	dev = BPF_CORE_READ(skb, dev);
	c->dev = (__u64)dev;
	c->netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	if (rx_sk)
		c->sk = rx_sk;
	else if (!typed)
		c->sk = BPF_CORE_READ(skb, sk);
	if (c->netns)
		c->ifindex = BPF_CORE_READ(dev, ifindex);
	else if (c->sk) /* sent, and not routed to a device yet */
		c->netns = socket_netns(c->sk);
	set_conntrack(c, FIELD(typed, skb, _nfct));
	run_filter(c);
	c->location = d->location;
	c->reason = d->reason;
	record_wanted(c, KIND_DROP);
}

static __always_inline int handle_drop(const bool typed, const struct sk_buff *skb, const struct drop *d,
				       struct sock *rx_sk)
{
	struct pkt_ctx *c;

	if (!is_ip(FIELD(typed, skb, protocol)))
		return 0;
	c = ctx_get();
	if (!c)
		return 0;
	process_drop(typed, c, skb, d, rx_sk);
	ctx_put();
	return 0;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(transmit_tp_btf, struct sk_buff *skb)
{
	return handle_hop(true, skb, DIRECTION_OUT);
}

SEC("raw_tp/net_dev_queue")
int BPF_PROG(transmit_raw_tp, struct sk_buff *skb)
{
	return handle_hop(false, skb, DIRECTION_OUT);
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(receive_tp_btf, struct sk_buff *skb)
{
	return handle_hop(true, skb, DIRECTION_IN);
}

SEC("raw_tp/netif_receive_skb")
int BPF_PROG(receive_raw_tp, struct sk_buff *skb)
{
	return handle_hop(false, skb, DIRECTION_IN);
}

/* Reads only the arguments that this kernel has: the verifier rejects loads from ctx beyond them. */
#define DROP(ctx)                                                                \
	{                                                                        \
		.location = ctx[1], .reason = kfree_skb_has_reason ? ctx[2] : 0, \
	}

SEC("tp_btf/kfree_skb")
int drop_tp_btf(__u64 *ctx)
{
	struct drop d = DROP(ctx);

	return handle_drop(true, (void *)ctx[0], &d, kfree_skb_has_rx_sk ? (void *)ctx[3] : 0);
}

SEC("raw_tp/kfree_skb")
int drop_raw_tp(__u64 *ctx)
{
	struct drop d = DROP(ctx);

	return handle_drop(false, (void *)ctx[0], &d, kfree_skb_has_rx_sk ? (void *)ctx[3] : 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
