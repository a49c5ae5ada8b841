// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* What netfilter decides: the hook that dropped a packet, new flows without a NAT rule, new flows that conntrack could
 * not allocate or confirm, packets in conntrack state INVALID and why, packets that a REJECT rule answers. fexit, fentry
 * or kprobe nf_hook_slow, nf_nat_setup_info, __nf_conntrack_alloc, __nf_conntrack_confirm,
 * nf_ct_resolve_clash, nf_ct_l4proto_log_invalid, nf_l4proto_log_invalid, nf_send_reset, nf_send_unreach,
 * nf_send_reset6, nf_send_unreach6; raw_tp kfree_skb.
 *
 * What one hook knows and another sends is kept under the packet's address, never under the task's: an interrupt drops
 * packets while the task is current.
 */
enum kind {
	KIND_NETFILTER = 8,
};

#include "event.h"
#include "select.h"
#include "skb.h"
#include "want.h"

/* As in path.bpf.c. */
const volatile bool kfree_skb_has_reason = false;

enum netfilter_op {
	NETFILTER_VERDICT = 1,	    /* a hook dropped the packet */
	NETFILTER_UNTRANSLATED = 2, /* no DNAT rule matched a new flow */
	NETFILTER_FULL = 3,	    /* conntrack table full: no entry for a new flow */
	NETFILTER_REFUSED = 4,	    /* conntrack did not confirm a new flow */
	NETFILTER_REJECTED = 5,	    /* a REJECT rule answers the packet */
	NETFILTER_INVALID = 6,	    /* conntrack state INVALID */
};

#define TEXT_SIZE 128
#define NO_HOOK	  255 /* unknown */

struct event {
	struct hdr hdr;
	enum netfilter_op op;
	__u32 icmp;	       /* of the ICMP error for a rejected packet: type << 8 | code; 0: a TCP reset */
	struct tuple packet;   /* or the new flow's tuple, where no packet is at hand */
	struct tuple original; /* of the entry that the refused one clashed with; family 0 if none */
	struct tuple reply;
	__u32 status; /* of the entry that was refused: IPS_ bits */
	__u8 hook;    /* enum nf_inet_hooks, or the family's own; NO_HOOK */
	__u8 pf;      /* enum nfproto, valid iff hook is */
	__u8 tcp_flags;
	__u8 ttl;
	__u32 len; /* of the packet, 0 if there is none at hand */
	__u32 zero;
	__u8 text[TEXT_SIZE]; /* format string of conntrack's log message */
};

#define HEAD_SIZE offsetof(struct event, text)

DEFINE_RING(struct event);

#include "netns.h"

/* What was read of a packet. Of packets that kfree_skb frees with reason NETFILTER_DROP it is kept for verdict_fexit,
 * which runs after the packet is freed.
 */
struct freed_pkt {
	struct tuple t;
	__u32 len;
	__u8 tcp_flags;
	__u8 ttl;
	__u16 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* address of the packet */
	__type(value, struct freed_pkt);
} freed_pkts SEC(".maps");

/* The hook that a packet entered last, for kernels without fexit. */
struct hook_entry {
	__u64 function; /* address of nf_hook_slow, 0 from fexit */
	__u64 net;	/* address of the namespace */
	__u32 ifindex;
	__u8 hook;
	__u8 pf;
	__u16 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* address of the packet */
	__type(value, struct hook_entry);
} hook_entries SEC(".maps");

/* The entry that a new one clashed with, until conntrack resolves the clash or drops the packet. */
struct clash {
	__u64 ct; /* address of the new entry */
	__u64 time;
	struct tuple original;
	struct tuple reply;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* address of the packet */
	__type(value, struct clash);
} clashes SEC(".maps");

#define CLASH_AGE 100000000 /* nanoseconds; the drop follows at once */

static __always_inline bool selected(const struct tuple *t, __u32 netns)
{
	return netns_selected(netns) || addr_selected(t->src) || addr_selected(t->dst);
}

/* A record about a packet, NULL if the user did not select it. */
static __always_inline struct event *new_event(enum netfilter_op op, const struct freed_pkt *c,
					       struct net *net)
{
	__u32 netns = BPF_CORE_READ(net, ns.inum);
	struct event *e;

	if (!selected(&c->t, netns)) {
		COUNT(KIND_NETFILTER, seen);
		COUNT(KIND_NETFILTER, filtered);
		return NULL;
	}
	announce_netns(net);
	e = RESERVE(struct event, KIND_NETFILTER, sizeof(*e));
	if (!e)
		return NULL;
	e->op = op;
	e->hdr.netns = netns;
	e->packet = c->t;
	e->len = c->len;
	e->tcp_flags = c->tcp_flags;
	e->ttl = c->ttl;
	e->hook = NO_HOOK;
	return e;
}

/* Sends a record, without its text if that is empty. */
static __always_inline void send(struct event *e)
{
	if (!e->text[0])
		e->hdr.size = HEAD_SIZE;
	SUBMIT(e);
}

static __always_inline bool read_packet(struct freed_pkt *c, struct sk_buff *skb)
{
	struct packet p = {};

	if (!parse_skb(&p, skb))
		return false;
	c->t = p.t;
	c->len = p.len;
	c->tcp_flags = p.tcp_flags;
	c->ttl = p.ttl;
	return true;
}

/* The packet's namespace: its device's, or its socket's where a sent packet has no device yet. */
static __always_inline struct net *packet_netns(struct sk_buff *skb)
{
	struct net *net = BPF_CORE_READ(skb, dev, nd_net.net);

	return net ? net : BPF_CORE_READ(skb, sk, __sk_common.skc_net.net);
}

static __always_inline struct hook_entry entry_of(struct nf_hook_state *state)
{
	struct net_device *in = BPF_CORE_READ(state, in);

	return (struct hook_entry){
		.net = (__u64)BPF_CORE_READ(state, net),
		.ifindex = in ? BPF_CORE_READ(in, ifindex) : BPF_CORE_READ(state, out, ifindex),
		.hook = BPF_CORE_READ(state, hook),
		.pf = BPF_CORE_READ(state, pf),
	};
}

static __always_inline int send_verdict(const struct freed_pkt *c, const struct hook_entry *at)
{
	struct event *e = new_event(NETFILTER_VERDICT, c, (void *)at->net);

	if (!e)
		return 0;
	e->hdr.ifindex = at->ifindex;
	e->hook = at->hook;
	e->pf = at->pf;
	send(e);
	return 0;
}

enum skb_drop_reason___some {
	SKB_DROP_REASON_NETFILTER_DROP___some = 7, /* CO-RE takes the kernel's value */
};

/* Whether kfree_skb's reason is NETFILTER_DROP. A kernel without reasons (before 5.17) may mean it each time. */
static __always_inline bool dropped_by_netfilter(__u64 *ctx)
{
	return !kfree_skb_has_reason || ctx[2] == bpf_core_enum_value(enum skb_drop_reason___some,
								      SKB_DROP_REASON_NETFILTER_DROP___some);
}

SEC("raw_tp/kfree_skb")
int freed_raw_tp(__u64 *ctx)
{
	struct freed_pkt c = {};
	__u64 key = ctx[0];

	if (dropped_by_netfilter(ctx) && read_packet(&c, (void *)key))
		bpf_map_update_elem(&freed_pkts, &key, &c, BPF_ANY);
	return 0;
}

SEC("fexit/nf_hook_slow")
int BPF_PROG(verdict_fexit, struct sk_buff *skb, struct nf_hook_state *state, void *hooks, unsigned int first,
	     int verdict)
{
	__u64 key = (__u64)skb;
	struct freed_pkt *c, copy;
	struct hook_entry at;

	if (verdict >= 0)
		return 0;
	c = bpf_map_lookup_elem(&freed_pkts, &key);
	if (!c)
		return 0; /* not IP, or not freed: a reference is held */
	copy = *c;
	bpf_map_delete_elem(&freed_pkts, &key);
	at = entry_of(state);
	return send_verdict(&copy, &at);
}

#define HOOK_SLOW_SIZE 512 /* bytes of nf_hook_slow, at most; it has some 200 */

SEC("kprobe/nf_hook_slow")
int entry_kprobe(void *ctx)
{
	struct hook_entry at = entry_of((void *)argument(ctx, 2));
	__u64 key = argument(ctx, 1);

	at.function = place_of(ctx);
	bpf_map_update_elem(&hook_entries, &key, &at, BPF_ANY);
	return 0;
}

SEC("raw_tp/kfree_skb")
int verdict_raw_tp(__u64 *ctx)
{
	__u64 key = ctx[0];
	struct hook_entry *at = bpf_map_lookup_elem(&hook_entries, &key), copy;
	struct freed_pkt c = {};

	if (!at)
		return 0;
	copy = *at;
	bpf_map_delete_elem(&hook_entries, &key); /* the address will be reused */
	if (!dropped_by_netfilter(ctx) || !read_packet(&c, (void *)key))
		return 0;
	if (!kfree_skb_has_reason && ctx[1] - copy.function > HOOK_SLOW_SIZE)
		return 0; /* accepted by the hook, freed elsewhere */
	return send_verdict(&c, &copy);
}

/* linux/netfilter/nf_nat.h: ABI. */
struct nf_nat_range2 {
	unsigned int flags;
	union nf_inet_addr min_addr;
	union nf_inet_addr max_addr;
};

#define NF_NAT_RANGE_MAP_IPS 1
#define NF_NAT_MANIP_DST     1

/* A record about a new flow, NULL if the verb does not ask for its ports. */
static __always_inline struct event *new_flow_event(enum netfilter_op op, struct nf_conntrack_tuple *t,
						    struct net *net)
{
	struct freed_pkt c = {};

	read_tuple(&c.t, t);
	return port_wanted(&c.t) ? new_event(op, &c, net) : NULL;
}

/* For a new flow without a NAT rule nf_nat_inet_fn maps the destination to itself. The kernel does that in
 * nf_nat_alloc_null_binding, which is inlined; so this recognizes its call of nf_nat_setup_info by the arguments.
 */
static __always_inline int handle_nat_setup(struct nf_conn *ct, struct nf_nat_range2 *range, int manip)
{
	struct nf_conntrack_tuple *reply = REPLY(ct);
	union nf_inet_addr to;
	struct nf_nat_range2 r;
	struct event *e;
	int i;

	if (manip != NF_NAT_MANIP_DST || bpf_probe_read_kernel(&r, sizeof(r), range) ||
	    r.flags != NF_NAT_RANGE_MAP_IPS)
		return 0;
	BPF_CORE_READ_INTO(&to, reply, src.u3);
	for (i = 0; i < 4; i++)
		if (r.min_addr.all[i] != to.all[i] || r.max_addr.all[i] != to.all[i])
			return 0;
	e = new_flow_event(NETFILTER_UNTRANSLATED, ORIGINAL(ct), BPF_CORE_READ(ct, ct_net.net));
	if (e)
		send(e);
	return 0;
}

SEC("fentry/nf_nat_setup_info")
int BPF_PROG(setup_fentry, struct nf_conn *ct, struct nf_nat_range2 *range, int manip)
{
	return handle_nat_setup(ct, range, manip);
}

SEC("kprobe/nf_nat_setup_info")
int setup_kprobe(void *ctx)
{
	return handle_nat_setup((void *)argument(ctx, 1), (void *)argument(ctx, 2), argument(ctx, 3));
}

#define ENOMEM 12

SEC("fexit/__nf_conntrack_alloc")
int BPF_PROG(alloc_fexit, struct net *net, void *zone, struct nf_conntrack_tuple *original, void *reply,
	     unsigned int gfp, unsigned int hash, long ct)
{
	struct event *e;

	if (ct != -ENOMEM)
		return 0;
	e = new_flow_event(NETFILTER_FULL, original, net);
	if (e)
		send(e);
	return 0;
}

/* A packet's new entry clashes with one that is in the table (first). */
static __always_inline int handle_clash(struct sk_buff *skb, struct nf_conntrack_tuple_hash *first)
{
	__u32 step =
		BPF_CORE_READ(first, tuple.dst.dir) ? bpf_core_type_size(struct nf_conntrack_tuple_hash) : 0;
	struct nf_conn *other = (void *)first - bpf_core_field_offset(struct nf_conn, tuplehash) - step;
	struct clash c = {.ct = (__u64)skb_conntrack(BPF_CORE_READ(skb, _nfct)),
			  .time = bpf_ktime_get_boot_ns()};
	__u64 key = (__u64)skb;

	read_tuple(&c.original, ORIGINAL(other));
	read_tuple(&c.reply, REPLY(other));
	bpf_map_update_elem(&clashes, &key, &c, BPF_ANY);
	return 0;
}

SEC("fentry/nf_ct_resolve_clash")
int BPF_PROG(clash_fentry, struct sk_buff *skb, struct nf_conntrack_tuple_hash *first)
{
	return handle_clash(skb, first);
}

SEC("kprobe/nf_ct_resolve_clash")
int clash_kprobe(void *ctx)
{
	return handle_clash((void *)argument(ctx, 1), (void *)argument(ctx, 2));
}

/* The clash of this packet's entry, NULL if there is none. A clash of an earlier packet at the same address is not it. */
static __always_inline struct clash *clash_of(struct sk_buff *skb, struct nf_conn *ct)
{
	__u64 key = (__u64)skb;
	struct clash *c = bpf_map_lookup_elem(&clashes, &key);

	return c && c->ct == (__u64)ct && bpf_ktime_get_boot_ns() - c->time < CLASH_AGE ? c : 0;
}

static __always_inline int send_refused(struct sk_buff *skb, struct nf_conn *ct, struct clash *lost)
{
	struct freed_pkt c = {};
	struct event *e;

	if (!read_packet(&c, skb))
		return 0;
	e = new_event(NETFILTER_REFUSED, &c, BPF_CORE_READ(ct, ct_net.net));
	if (!e)
		return 0;
	e->status = BPF_CORE_READ(ct, status);
	if (lost) {
		e->original = lost->original;
		e->reply = lost->reply;
	}
	send(e);
	return 0;
}

#define NF_DROP	      0
#define NF_VERDICT    0xff
#define IPS_CONFIRMED 8

SEC("fexit/__nf_conntrack_confirm")
int BPF_PROG(confirm_fexit, struct sk_buff *skb, int verdict)
{
	struct nf_conn *ct;

	if ((verdict & NF_VERDICT) != NF_DROP)
		return 0;
	ct = skb_conntrack(BPF_CORE_READ(skb, _nfct));
	return send_refused(skb, ct, clash_of(skb, ct));
}

/* For kernels without fexit on __nf_conntrack_confirm: a packet that clashed and is dropped while its entry is not
 * confirmed.
 */
SEC("raw_tp/kfree_skb")
int refused_raw_tp(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct clash *lost;
	struct nf_conn *ct;

	if (!dropped_by_netfilter(ctx))
		return 0;
	ct = skb_conntrack(BPF_CORE_READ(skb, _nfct));
	lost = clash_of(skb, ct);
	if (!lost || BPF_CORE_READ(ct, status) & IPS_CONFIRMED)
		return 0;
	return send_refused(skb, ct, lost);
}

static __always_inline int handle_reject(struct sk_buff *skb, __u32 icmp, __u8 hook)
{
	struct freed_pkt c = {};
	struct event *e;

	if (!read_packet(&c, skb))
		return 0;
	e = new_event(NETFILTER_REJECTED, &c, packet_netns(skb));
	if (!e)
		return 0;
	e->hdr.ifindex = BPF_CORE_READ(skb, dev, ifindex);
	e->icmp = icmp;
	e->hook = hook;
	e->pf = c.t.family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
	send(e);
	return 0;
}

#define UNREACHABLE(type, code) ((type) << 8 | ((code)&0xff))

/* Arguments (net, socket, packet, hook). 5.10 has no socket, so that the third is the hook, a small number. */
static __always_inline int handle_reset(void *ctx)
{
	unsigned long third = argument(ctx, 3);

	if (third < 16)
		return handle_reject((void *)argument(ctx, 2), 0, third);
	return handle_reject((void *)third, 0, argument(ctx, 4));
}

SEC("fentry/nf_send_reset")
int BPF_PROG(reset_fentry, void *net, void *sk, struct sk_buff *skb, int hook)
{
	return handle_reject(skb, 0, hook);
}

SEC("kprobe/nf_send_reset")
int reset_kprobe(void *ctx)
{
	return handle_reset(ctx);
}

SEC("fentry/nf_send_reset6")
int BPF_PROG(reset6_fentry, void *net, void *sk, struct sk_buff *skb, int hook)
{
	return handle_reject(skb, 0, hook);
}

SEC("kprobe/nf_send_reset6")
int reset6_kprobe(void *ctx)
{
	return handle_reset(ctx);
}

SEC("fentry/nf_send_unreach")
int BPF_PROG(unreach_fentry, struct sk_buff *skb, int code, int hook)
{
	return handle_reject(skb, UNREACHABLE(3, code), hook);
}

SEC("kprobe/nf_send_unreach")
int unreach_kprobe(void *ctx)
{
	return handle_reject((void *)argument(ctx, 1), UNREACHABLE(3, argument(ctx, 2)), argument(ctx, 3));
}

SEC("fentry/nf_send_unreach6")
int BPF_PROG(unreach6_fentry, void *net, struct sk_buff *skb, unsigned char code, unsigned int hook)
{
	return handle_reject(skb, UNREACHABLE(1, code), hook);
}

SEC("kprobe/nf_send_unreach6")
int unreach6_kprobe(void *ctx)
{
	return handle_reject((void *)argument(ctx, 2), UNREACHABLE(1, argument(ctx, 3)), argument(ctx, 4));
}

/* Reads the format, or what it refers to: next is the argument after it. fentry cannot attach to variadic functions. */
static __always_inline int handle_invalid(struct sk_buff *skb, const void *format, const void *next)
{
	struct freed_pkt c = {};
	struct event *e;

	if (!read_packet(&c, skb))
		return 0;
	e = new_event(NETFILTER_INVALID, &c, packet_netns(skb));
	if (!e)
		return 0;
	e->hdr.ifindex = BPF_CORE_READ(skb, dev, ifindex);
	bpf_probe_read_kernel_str(e->text, sizeof(e->text), format);
	if (e->text[0] == '%' && e->text[1] == 's' && !e->text[2])
		bpf_probe_read_kernel_str(e->text, sizeof(e->text), next);
	else if (e->text[0] == '%' && e->text[1] == 'p' && e->text[2] == 'V') /* struct va_format */
		bpf_probe_read_kernel_str(e->text, sizeof(e->text),
					  BPF_CORE_READ((struct va_format *)next, fmt));
	send(e);
	return 0;
}

/* Whether p points to a string: that begins with a printable character, struct nf_hook_state with a hook's number. */
static __always_inline bool is_text(const void *p)
{
	char c = 0;

	return !bpf_probe_read_kernel(&c, sizeof(c), p) && c >= ' ';
}

/* Arguments (packet, entry, hook state, format, ...); 5.10 has no hook state. */
SEC("kprobe/nf_ct_l4proto_log_invalid")
int invalid_kprobe(void *ctx)
{
	void *skb = (void *)argument(ctx, 1), *third = (void *)argument(ctx, 3);

	if (is_text(third))
		return handle_invalid(skb, third, (void *)argument(ctx, 4));
	return handle_invalid(skb, (void *)argument(ctx, 4), (void *)argument(ctx, 5));
}

/* Arguments (packet, hook state, protocol, format, ...); 5.10 has (packet, net, family, protocol, format, ...). */
SEC("kprobe/nf_l4proto_log_invalid")
int malformed_kprobe(void *ctx)
{
	void *skb = (void *)argument(ctx, 1), *fourth = (void *)argument(ctx, 4);

	if (is_text(fourth)) /* a protocol number is no readable address */
		return handle_invalid(skb, fourth, (void *)argument(ctx, 5));
	return handle_invalid(skb, (void *)argument(ctx, 5), (void *)argument(ctx, 6));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
