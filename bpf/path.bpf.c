//go:build ignore

/* The way of packets through the node: where each was seen (hops), where it died (drops), and by conntrack what
 * its addresses were translated to. tp_btf or raw_tp net_dev_queue, netif_receive_skb, kfree_skb.
 *
 * A packet is of interest if its way so far was, if its flow or the flow that an ICMP error is about was, or if it
 * is what the view asks for (protocol, port), what the user's expression says, and whom the user selected. So NAT, to
 * whatever address and port, is followed here, and nothing else costs a record.
 *
 * In a tunnel between nodes (VXLAN, Geneve, IP in IP) the packet stays the one that is carried: what it is asked for
 * by, and known again by, is its own header. The record has the outer one, and tells where the inner begins.
 */
#include "dnsport.h"
#include "event.h"
#include "select.h"
#include "skb.h"
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
const volatile __u32 snap = 0;	       /* bytes to take of a packet when it is first seen, and when it dies */
const volatile bool filtering = false; /* the user gave an expression, which was put into packet_filter_l3 */

/* What this kernel passes to tracepoint kfree_skb: the reason since 5.17, commit c504e5c2f964 ("net: skb: introduce
 * kfree_skb_reason()"), the socket since 6.11, commit c53795d48ee8 ("net: add rx_sk to trace_kfree_skb").
 */
const volatile bool kfree_skb_has_reason = false;
const volatile bool kfree_skb_has_rx_sk = false;

/* Room for packet bytes, in sizes that a reserve may have. */
#define ROOM_SMALL 160 /* the headers, of a packet in a tunnel, too, without many options */
#define ROOM_LARGE 512

struct event {
	struct hdr hdr;
	struct tuple packet;
	struct tuple original; /* of the conntrack entry, family 0 if there is none */
	struct tuple reply;
	__u64 location; /* of a drop: the instruction after the call that freed the packet */
	__u32 reason;	/* of a drop: enum skb_drop_reason of this kernel */
	__u32 status;	/* of the conntrack entry: IPS_ bits */
	__u32 len;	/* from the network header on */
	__u32 id;
	__u32 socket_netns; /* of the socket that sent it or was to receive it, 0 if unknown */
	__u16 fragment;	    /* offset, bytes; the lowest bit: more follow */
	__u16 l4;	    /* offsets from the network header */
	__u16 data;
	__u16 taken; /* bytes */
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	enum path_direction direction; /* 0 of a drop */
	__u8 zero;
	__u16 inner;		/* where the packet that this one carries begins, 0 if it carries none */
	__u8 bytes[ROOM_LARGE]; /* from the network header on */
};

#define HEAD_SIZE offsetof(struct event, bytes)

DEFINE_RING(struct event);

/* One packet's way through this node, as long as the node sees it. */
struct journey {
	__u64 id; /* time of its first hop, unique by the CPU in the lowest bits */
	__u64 last;
	__u64 dev; /* of the first hop */
	__u32 fingerprint;
	__u32 netns; /* of the last hop, as the next two */
	__u8 direction;
	__u8 ttl;
	__u8 first_direction;
	__u8 first_ttl;
	__u32 flow; /* hash of it, at the last hop */
};

#define JOURNEY_CPUS 64
#define JOURNEY_AGE_NS \
	(10ULL * 1000 * 1000 * 1000) /* longest rest: an unresolved neighbour holds a packet for 3 s */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* skb->head; or the skb, if its head was allocated anew */
	__type(value, struct journey);
} journeys SEC(".maps");

/* The packet that was seen last on this CPU: the way through a namespace, from device to device, is one function call,
 * so what the next hop has is that packet, even if it was copied.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct journey);
} last_journey SEC(".maps");

#define COPY_DELAY_NS (10 * 1000 * 1000) /* ns from hop to hop, though the CPU be lent out between them */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct tuple); /* normalised: both directions are one */
	__type(value, __u8);
} flows SEC(".maps");

/* A packet where one of the programs looks at it. */
struct pkt_ctx {
	struct packet p; /* the one that is carried, if it is in a tunnel */
	__u32 inner;	 /* where it begins in what carries it, 0 if nothing does */
	__u32 ifindex;
	__u64 skb;
	__u64 dev;
	struct sock *sk;
	struct nf_conn *ct;
	__u64 journey;
	__u32 netns;
	__u8 direction;
	bool first;	     /* hop of its journey */
	bool reply;	     /* it goes the other way than the first packet of its flow; valid iff ct */
	bool filter_match;   /* the user's expression; valid iff filtering */
	struct packet outer; /* what carries it, valid iff inner */
};

/* Room for sights: they are too large for the stack, and what is in a map the verifier does not follow through every
 * way that there is through the headers. A program may interrupt another, so there is one a level: task, soft and hard
 * interrupt, NMI.
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

/* A sight that is zero but for outer, until let_go. */
static __always_inline struct pkt_ctx *ctx_get(void)
{
	__u32 zero = 0, at, *now = bpf_map_lookup_elem(&pkt_ctx_level, &zero);
	struct pkt_ctx *c;

	if (!now || *now >= CTX_LEVELS)
		return 0;
	at = (*now)++;
	c = bpf_map_lookup_elem(&pkt_ctxs, &at);
	if (c)
		__builtin_memset(c, 0, offsetof(struct pkt_ctx, outer));
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

/* Set with the first flow: until then, and on a node that translates nothing for ever, none is looked for. */
bool flows_tracked = false;

static __always_inline bool flow_tracked(const struct tuple *t)
{
	struct tuple key;

	if (!flows_tracked)
		return false;
	normalise(&key, t);
	return bpf_map_lookup_elem(&flows, &key);
}

static __always_inline void track_flow(const struct tuple *t)
{
	struct tuple key;
	__u8 one = 1;

	normalise(&key, t);
	if (bpf_map_lookup_elem(&flows, &key))
		return;
	bpf_map_update_elem(&flows, &key, &one, BPF_ANY);
	flows_tracked = true;
}

/* Who sends UDP to whom, by whatever ports. Of what is asked for by ports, that finds later fragments, which have none,
 * and answers from a port that was not asked.
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
	struct tuple pair;

	if (!ports_wanted || t->proto != IPPROTO_UDP)
		return false;
	udp_pair_of(&pair, t);
	return flow_tracked(&pair);
}

static __noinline int track_udp_pair(const struct tuple *t)
{
	struct tuple pair;

	if (!ports_wanted || t->proto != IPPROTO_UDP)
		return 0;
	udp_pair_of(&pair, t);
	track_flow(&pair);
	return 0;
}

static __always_inline __u32 socket_netns(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* Whether the packet just left its sender: later it has gone to another namespace, or lost its socket. */
static __always_inline bool just_sent(const struct pkt_ctx *c)
{
	return c->direction == DIRECTION_OUT && c->sk && socket_netns(c->sk) == c->netns;
}

/* Whether j is the packet at hand. Buffers are used again, for packets that may even look the same (a query sent
 * again): a packet does not get younger, nor begin anew; where devices are stacked it leaves by several.
 */
static __always_inline bool same_packet(const struct journey *j, const struct pkt_ctx *c, __u64 now)
{
	if (now - j->last > JOURNEY_AGE_NS || c->p.ttl > j->ttl)
		return false;
	if (c->direction == j->first_direction && c->dev == j->dev && c->p.ttl == j->first_ttl)
		return !c->direction;
	if (!c->direction && !j->first_direction)
		return false; /* died elsewhere before */
	return !just_sent(c) || (j->direction == DIRECTION_OUT && j->netns == c->netns);
}

/* The journey kept under a key, if it is the packet's. One that looks like it but is of a packet before is forgotten,
 * lest a later hop, which cannot tell, takes it up.
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

/* Whether the packet is of the flow that another was, as it is or as it was before translation here. */
static __noinline bool same_flow(const struct pkt_ctx *c, __u32 flow)
{
	struct nf_conn *ct = c->ct;
	struct tuple t;

	if (flow_hash(&c->p.t) == flow)
		return true;
	if (!ct || c->inner || !(BPF_CORE_READ(ct, status) & IPS_NAT))
		return false;
	if (c->reply)
		read_tuple(&t, REPLY(ct));
	else
		read_tuple(&t, ORIGINAL(ct));
	return flow_hash(&t) == flow;
}

/* The journey of the packet of which this one is a copy, with a buffer and an address of its own: IPv6 makes one where
 * the next device, as a tunnel's does, needs more room before the header (skb_expand_head).
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

/* The journey of a packet, NULL if it is not known. Its buffer tells it, unless that was allocated anew. */
static __always_inline struct journey *find_journey(const struct pkt_ctx *c, __u64 now)
{
	struct journey *j = lookup_journey((__u64)c->p.head, c, now);
	__u64 head = (__u64)c->p.head;

	if (j)
		return j;
	j = copied_journey(c, now);
	if (!j)
		j = lookup_journey(c->skb, c, now);
	if (!j || !same_flow(c, j->flow))
		return 0;
	if (bpf_map_update_elem(&journeys, &head, j, BPF_ANY))
		COUNT(KIND_HOP, lost_map);
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

static __noinline void begin_journey(struct pkt_ctx *c, __u64 now)
{
	struct journey j = {
		.id = (now & ~(JOURNEY_CPUS - 1ULL)) | (bpf_get_smp_processor_id() & (JOURNEY_CPUS - 1)),
		.dev = c->dev,
		.fingerprint = c->p.fingerprint,
		.first_direction = c->direction,
		.first_ttl = c->p.ttl,
	};
	__u64 head = (__u64)c->p.head;

	set_last_hop(&j, c, now);
	c->first = true;
	c->journey = j.id;
	if (bpf_map_update_elem(&journeys, &head, &j, BPF_ANY) ||
	    bpf_map_update_elem(&journeys, &c->skb, &j, BPF_ANY))
		COUNT(KIND_HOP, lost_map);
}

/* Goes on with a journey or begins one. What is kept by the packet's address stays as it was at the beginning: it is
 * there to be found once, if the buffer changes.
 */
static __always_inline void update_journey(struct pkt_ctx *c, struct journey *known, __u64 now)
{
	if (!known) {
		begin_journey(c, now);
		return;
	}
	c->journey = known->id;
	set_last_hop(known, c, now);
}

/* Whether the packet is of a selected end by what its addresses were before translation, or will be after it: behind
 * source translation it has the node's.
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

/* The user's filter, spliced in before the program is loaded: tracer/filter says what it replaces. */
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

	asm volatile("%0 = -%0; %0 = -%0" : "+r"(at)); /* the verifier takes no negative for a pointer */
	return packet_filter_l3(at, room, len, about | (__u64)c->direction << 33, c->ifindex);
}

static __always_inline bool has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* Whether the packet, or what an ICMP error quotes from skip on, passes with other addresses and ports. */
static __noinline bool match_rewritten(const struct pkt_ctx *c, void *src, void *dst, __u32 ports, __u32 skip)
{
	union {
		__u8 b[64]; /* as much of the packet as can be looked at so */
		struct {
			struct ipv4_header ip;
			__u32 ports;
		} v4;
		struct {
			struct ipv6_header ip;
			__u32 ports;
		} v6;
	} h = {};
	__u64 n = c->p.linear -
		  skip; /* wide, lest the compiler checks a copy that the verifier does not connect */

	if (n > sizeof(h))
		n = sizeof(h);
	barrier_var(n);
	if (n < sizeof(h.v4) || n > sizeof(h) || bpf_probe_read_kernel(&h, n, c->p.l3 + skip))
		return false;
	if (c->p.t.family == 4) {
		bpf_probe_read_kernel(h.v4.ip.src, 4, src);
		bpf_probe_read_kernel(h.v4.ip.dst, 4, dst);
		if (has_ports(h.v4.ip.proto) && (h.v4.ip.version_ihl & 15) == 5)
			h.v4.ports = ports;
	} else {
		bpf_probe_read_kernel(h.v6.ip.src, 16, src);
		bpf_probe_read_kernel(h.v6.ip.dst, 16, dst);
		if (has_ports(h.v6.ip.next))
			h.v6.ports = ports;
	}
	return filter_at(c, c->p.t.family, &h, n, c->p.len - skip);
}

/* The same with the ends that conntrack has for the packet; turned says that they are the other direction's. */
static __always_inline bool match_translated(const struct pkt_ctx *c, struct nf_conntrack_tuple *ends,
					     bool turned, __u32 skip)
{
	void *src = __builtin_preserve_access_index(&ends->src.u3);
	void *dst = __builtin_preserve_access_index(&ends->dst.u3);
	__u32 sport = BPF_CORE_READ(ends, src.u.all), dport = BPF_CORE_READ(ends, dst.u.all);

	return turned ? match_rewritten(c, dst, src, dport | sport << 16, skip)
		      : match_rewritten(c, src, dst, sport | dport << 16, skip);
}

/* Whether the user's expression says yes: to the packet as it is, in a tunnel or out of it, to what an ICMP error is about, or to either with
 * the addresses and ports before or after translation.
 */
static __noinline bool match_filter(const struct pkt_ctx *c)
{
	bool error = is_icmp_error(&c->p) && c->p.linear > c->p.data, turned = c->reply != error;
	__u32 skip = error ? c->p.data : 0;
	struct nf_conn *ct = c->ct;

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

/* Asks the user's filter. */
static __always_inline void run_filter(struct pkt_ctx *c)
{
	if (filtering)
		c->filter_match = match_filter(c);
}

/* Whether the view asks for the packet, as it is or as it was before translation. */
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

/* The same for what an ICMP error is about. Other ICMP is asked for only where ports do not matter. */
static __noinline bool icmp_matches(const struct pkt_ctx *c, bool *known)
{
	struct packet inner;

	if (!is_icmp_error(&c->p) || !parse_quoted(&c->p, &inner))
		return !ports_wanted;
	*known = flow_tracked(&inner.t);
	return port_wanted(&inner.t);
}

/* Whether to make a record of the packet; finds its journey on the way. */
static __noinline bool should_record(struct pkt_ctx *c, enum kind kind)
{
	bool icmp = protocol_bit(c->p.t.proto) == WANT_ICMP, known = false, match, wanted;
	__u64 now = bpf_ktime_get_boot_ns();
	struct journey *j;

	match = icmp ? icmp_matches(c, &known) : view_matches(c);
	wanted = match && (!filtering || c->filter_match);
	j = find_journey(c, now);
	if (!j && !icmp && !match)
		known = udp_pair_tracked(&c->p.t);
	if (!j && !known && (!wanted || selecting) && (icmp || !flow_tracked(&c->p.t))) {
		if (!match)
			return false;
		if (!wanted || !selected(c)) {
			COUNT(kind, seen);
			COUNT(kind, filtered);
			return false;
		}
	}
	update_journey(c, j, now);
	return true;
}

/* Which process sent the packet: only where that is certain. Elsewhere, in a softirq or behind a queue, the current
 * task is a bystander.
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
		return; /* not a full socket: the other fields are not there */
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
		if (e->original.proto == IPPROTO_TCP)
			learn_dns_backend(e->original.dport, e->reply.sport);
	}
}

/* The packet as it is at the device. */
static __always_inline const struct packet *outer_packet(const struct pkt_ctx *c)
{
	return c->inner ? &c->outer : &c->p;
}

static __noinline void fill(struct event *e, const struct pkt_ctx *c)
{
	const struct packet *p = outer_packet(c);

	e->hdr.journey = c->journey;
	e->hdr.ifindex = c->ifindex;
	e->packet = p->t;
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
	e->hdr.netns = c->netns;
	if (c->ct)
		fill_conntrack(e, c->ct);
}

struct drop {
	__u64 location;
	__u32 reason;
};

/* Sends a record with up to room bytes of the packet; room is a constant. */
static __always_inline void send(const struct pkt_ctx *c, const struct drop *d, const __u32 room)
{
	enum kind kind = d ? KIND_DROP : KIND_HOP;
	struct event *e = RESERVE_PART(struct event, kind, HEAD_SIZE + room, HEAD_SIZE);
	const struct packet *p = outer_packet(c);
	__u32 n = p->linear;

	if (!e)
		return;
	fill(e, c);
	if (d) {
		e->location = d->location;
		e->reason = d->reason;
	}
	if (n > room)
		n = room;
	if (room && !bpf_probe_read_kernel(e->bytes, n, p->l3))
		e->taken = n;
	e->hdr.size = HEAD_SIZE + e->taken;
	bpf_ringbuf_submit(e, 0);
}

static __noinline void record(const struct pkt_ctx *c, const struct drop *d)
{
	__u32 want = c->first || d ? snap : 0;

	if (want > outer_packet(c)->linear)
		want = outer_packet(c)->linear;
	if (selecting || filtering)
		track_flow(&c->p.t);
	if (c->first && port_wanted(&c->p.t))
		track_udp_pair(&c->p.t);
	if (c->inner) {
		track_flow(&c->outer.t); /* an ICMP error is about that */
		if (want < ROOM_SMALL)
			want = ROOM_SMALL;
	}
	if (!want)
		send(c, d, 0);
	else if (want <= ROOM_SMALL)
		send(c, d, ROOM_SMALL);
	else
		send(c, d, ROOM_LARGE);
}

/* The port of this node's own tunnels, if it is not a usual one: known from what leaves. */
__u16 tunnel_port = 0;

/* Where the packet that p carries begins, from its network header on; 0 if it carries none. What leaves is marked by
 * the kernel, whatever the tunnel; of what arrives the header tells.
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

/* Reads the headers of what begins at l3, and of what that carries. False if that is no business of ours. */
static __always_inline bool parse(const bool typed, struct pkt_ctx *c, const struct sk_buff *skb,
				  __u32 wanted)
{
	unsigned char *data = FIELD(typed, skb, data);
	__u32 pulled = c->p.l3 - data; /* from data on; negative where data is already behind the header */
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
		if (at && decapsulate(&c->p, &c->outer, at))
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

static __always_inline bool is_ip(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6);
}

static __always_inline void process_hop(const bool typed, struct pkt_ctx *c, const struct sk_buff *skb,
					__u8 direction)
{
	struct net_device *dev;

	c->direction = direction;
	c->p.head = FIELD(typed, skb, head);
	/* What arrives has its network header not set yet, but begins with it. */
	c->p.l3 = direction == DIRECTION_IN ? FIELD(typed, skb, data)
					    : c->p.head + FIELD(typed, skb, network_header);
	if (!parse(typed, c, skb, hop_protocols))
		return;
	if (hop_tcp_flags && c->p.t.proto == IPPROTO_TCP && !(c->p.tcp_flags & hop_tcp_flags))
		return;
	dev = FIELD(typed, skb, dev);
	c->dev = (__u64)dev;
	c->sk = FIELD(typed, skb, sk);
	set_conntrack(c, FIELD(typed, skb, _nfct));
	c->netns = typed ? dev->nd_net.net->ns.inum : BPF_CORE_READ(dev, nd_net.net, ns.inum);
	c->ifindex = FIELD(typed, dev, ifindex);
	run_filter(c);
	if (should_record(c, KIND_HOP))
		record(c, 0);
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

/* The network header of a packet that dies anywhere: where it was set, else where the data begins. */
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

	if (!parse_dropped(typed, c, skb))
		return;
	/* Behind a UDP socket's queue the field serves another purpose, so it is never followed by plain loads. */
	dev = BPF_CORE_READ(skb, dev);
	c->dev = (__u64)dev;
	c->netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	c->sk = rx_sk ? rx_sk : FIELD(typed, skb, sk);
	if (c->netns)
		c->ifindex = BPF_CORE_READ(dev, ifindex);
	else if (c->sk) /* on its way out, no device was chosen yet */
		c->netns = socket_netns(c->sk);
	set_conntrack(c, FIELD(typed, skb, _nfct));
	run_filter(c);
	if (should_record(c, KIND_DROP))
		record(c, d);
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

/* The arguments that this kernel has; ctx may not be read beyond them. */
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
