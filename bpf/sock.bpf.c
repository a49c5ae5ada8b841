// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* Events of TCP and UDP sockets: resets sent and received, errors, retransmitted SYNs and SYN-ACKs, retransmission
 * timeouts of large segments, full accept queues and receive buffers, ICMP errors that this node sends, lookups without a
 * route. raw_tp tcp_send_reset, tcp_receive_reset, inet_sk_error_report, inet_sock_set_state, tcp_retransmit_skb,
 * tcp_retransmit_synack, tcp_destroy_sock, icmp_send, sock_rcvqueue_full, udp_fail_queue_rcv_skb, fib_table_lookup, fib6_table_lookup;
 * fentry or kprobe tcp_conn_request where the kernel has them.
 *
 * No tp_btf: from 6.3 to 6.13 the verifier assumes that its arguments are not NULL and removes the checks (fixed by
 * commit 838a10bd2ebf, "bpf: Augment raw_tp arguments with PTR_MAYBE_NULL"). In tcp_send_reset the socket or the packet
 * is often NULL.
 */
enum kind {
	KIND_SOCK = 6,
};

#include "skb.h"
#include "sock.h"

const volatile __u64 tick_ns = 0; /* nanoseconds per jiffy */

#define PORT_DNS 53

enum sock_op {
	SOCK_RESET_SENT = 1,
	SOCK_RESET_RECEIVED = 2,
	SOCK_ERROR = 3,
	SOCK_SYN_RETRANSMIT = 4,    /* retransmitted by the client */
	SOCK_SYNACK_RETRANSMIT = 5, /* retransmitted; sock is the listener */
	SOCK_SYN_LOST = 6,	    /* sock is the listener; its accept queue was full */
	SOCK_ICMP_SENT = 7,
	SOCK_BUFFER_FULL = 8,
	SOCK_NO_ROUTE = 9,    /* one table has no route to the destination; another may have */
	SOCK_RETRANSMIT = 10, /* data, after a retransmission timeout */
};

struct event {
	struct hdr hdr; /* pid is the process that closes, connects or listens, 0 if unknown */
	enum sock_op op;
	__u32 reason;	     /* enum sk_rst_reason, valid iff has_reason; ICMP type << 8 | code */
	__s32 error;	     /* errno, positive */
	__u32 sigcode;	     /* of a process that exits: exit code << 8 | signal */
	struct tuple sock;   /* from the socket's own end to its peer; family 0 if there is no socket */
	struct tuple packet; /* that caused the event; family 0 if there is none */
	__u32 len;	     /* of the packet, from its network header on */
	__u8 closing;	     /* sent because process pid closes the socket */
	__u8 pad[3];
	__u8 state; /* before the close */
	__u8 has_reason;
	__u8 exiting;  /* the process exits: sigcode is valid */
	__u8 linger_0; /* SO_LINGER with time 0 */
	__u8 ttl;      /* of the packet */
	__u8 tcp_flags;
	__u32 backlog; /* of a listener: connections in the accept queue */
	__u32 backlog_max;
	__u32 rmem; /* bytes in the receive buffer */
	__u32 rcvbuf;
	__u32 unread; /* bytes received that the process has not read */
	__u32 count;  /* events that this one stands for, including itself */
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 idle;	    /* nanoseconds since the last segment from the peer, 0 if there was none */
	__u64 inode;	    /* of the socket, 0 if no process holds it */
	__u64 acked;	    /* bytes, and one for the SYN */
	__u64 age;	    /* nanoseconds since ESTABLISHED, 0 if that was not seen */
	__u32 timeouts;	    /* since the last ACK of new data */
	__u32 sacked;	    /* segments that the peer selectively acknowledged */
	__u32 sacked_bytes; /* in the SACK blocks that the socket keeps, at most 4 */
	__u32 pmtu;	    /* path MTU that the socket assumes */
	__u32 payload;	    /* bytes, of the retransmitted segment */
	__u32 pad2;
};

DEFINE_RING(struct event);

#include "netns.h"
#include "owner.h"

/* States of sockets before they were closed, for the reset that follows at once. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* address of the socket */
	__type(value, __u8);
} closed_states SEC(".maps");

#define SHARE_ESTABLISHED_ROOM 16384

/* When connections became ESTABLISHED, nanoseconds of CLOCK_BOOTTIME. An entry is there until the socket is destroyed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SHARE_ESTABLISHED_ROOM);
	__type(key, __u64); /* address of the socket */
	__type(value, __u64);
} established SEC(".maps");

/* Limits the events of a socket with a full receive buffer. */
struct rate_limit {
	__u64 last;    /* time of the last event */
	__u32 pending; /* drops since */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* address of the socket */
	__type(value, struct rate_limit);
} rate_limits SEC(".maps");

#define RATE_LIMIT_NS 100000000 /* one event per socket in this time */

/* Fills in the current process, and its exit code if it exits. Not in a softirq. */
static __always_inline void fill_closer(struct event *e)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 cgroup = e->hdr.cgroup;
	__u32 netns = e->hdr.netns;

	fill_task(&e->hdr);
	e->closing = 1;
	if (cgroup)
		e->hdr.cgroup = cgroup;
	e->hdr.netns = netns; /* the closing process may be in another namespace, or in none */
	e->exiting = !!(BPF_CORE_READ(task, flags) & 0x4 /* PF_EXITING */);
	if (e->exiting)
		e->sigcode = BPF_CORE_READ(task, signal, group_exit_code);
}

static __always_inline void fill_tcp(struct event *e, struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;
	__u32 heard = BPF_CORE_READ(tp, rcv_tstamp);
	__u32 fin = HAS_FLAG(sk, SOCK_DONE); /* FIN received: it takes one sequence number */

	e->bytes_sent = BPF_CORE_READ(tp, bytes_sent);
	e->bytes_received = BPF_CORE_READ(tp, bytes_received);
	if (e->bytes_received) {
		e->bytes_received -= fin;
		e->unread = BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq);
	}
	if (e->unread)
		e->unread -= fin;
	if (heard)
		e->idle = ((__u32)bpf_jiffies64() - heard) * tick_ns;
}

static __always_inline void fill_sock(struct event *e, struct sock *sk)
{
	struct inet_sock *inet = (void *)sk;

	fill_ends(&e->sock, sk);
	e->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	e->hdr.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!is_fullsock(e->state))
		return;
	e->sock.sport =
		bpf_ntohs(BPF_CORE_READ(inet, inet_sport)); /* skc_num is 0 once the port is released */
	e->sock.proto = BPF_CORE_READ(sk, sk_protocol);
	e->hdr.cgroup = BPF_CORE_READ(sock_cgroup(sk), kn, id);
	e->inode = sock_inode(sk);
	e->rmem = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
	e->rcvbuf = BPF_CORE_READ(sk, sk_rcvbuf);
	e->backlog = BPF_CORE_READ(sk, sk_ack_backlog);
	e->backlog_max = BPF_CORE_READ(sk, sk_max_ack_backlog);
	e->linger_0 = linger_zero(sk);
	if (e->sock.proto == IPPROTO_TCP && e->state != TCP_LISTEN)
		fill_tcp(e, sk);
	fill_owner(&e->hdr, sk);
}

static __always_inline void fill_packet(struct event *e, struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct packet p = {};

	if (parse_skb(&p, skb)) {
		e->packet = p.t;
		e->len = p.len;
		e->ttl = p.ttl;
		e->tcp_flags = p.tcp_flags;
	}
	if (!dev)
		return;
	e->hdr.ifindex = BPF_CORE_READ(dev, ifindex);
	if (!e->hdr.netns)
		e->hdr.netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
}

/* The namespace of a socket; without one, of a packet; without either, of the current task. */
static __always_inline struct net *netns_for(struct sock *sk, struct sk_buff *skb)
{
	if (sk)
		return BPF_CORE_READ(sk, __sk_common.skc_net.net);
	if (skb)
		return BPF_CORE_READ(skb, dev, nd_net.net);
	return net_of((void *)bpf_get_current_task());
}

/* A record about a socket, or without one about a packet, or without either about the current task. */
static __always_inline struct event *sock_event(enum sock_op op, struct sock *sk, struct sk_buff *skb)
{
	struct event *e;

	announce_netns(netns_for(sk, skb));
	e = RESERVE(struct event, KIND_SOCK, sizeof(*e));
	if (!e)
		return NULL;
	e->op = op;
	e->count = 1;
	if (sk)
		fill_sock(e, sk);
	return e;
}

static __always_inline int handle_reset_sent(struct sock *sk, struct sk_buff *skb, __u32 reason,
					     bool has_reason)
{
	struct event *e = sock_event(SOCK_RESET_SENT, sk, skb);
	__u64 key = (__u64)sk;
	__u8 *before;

	if (!e)
		return 0;
	e->reason = reason;
	e->has_reason = has_reason;
	if (skb) {
		fill_packet(e, skb);
	} else if (e->state == TCP_CLOSE) {
		fill_closer(e); /* not a timer: those send before they close the socket */
		before = bpf_map_lookup_elem(&closed_states, &key);
		if (before)
			e->state = *before;
	}
	SUBMIT(e);
	return 0;
}

/* The reason is there since 6.10 (commit b533fb9cf4f7, "rstreason: make it work in trace world"). Older kernels refuse to
 * attach a program that reads it.
 */
SEC("raw_tp/tcp_send_reset")
int BPF_PROG(send_reset_raw_tp, struct sock *sk, struct sk_buff *skb, __u32 reason)
{
	return handle_reset_sent(sk, skb, reason, true);
}

SEC("raw_tp/tcp_send_reset")
int BPF_PROG(send_reset_bare_raw_tp, struct sock *sk, struct sk_buff *skb)
{
	return handle_reset_sent(sk, skb, 0, false);
}

SEC("raw_tp/tcp_receive_reset")
int BPF_PROG(receive_reset_raw_tp, struct sock *sk)
{
	struct event *e = sock_event(SOCK_RESET_RECEIVED, sk, NULL);

	if (e)
		SUBMIT(e);
	return 0;
}

SEC("raw_tp/inet_sk_error_report")
int BPF_PROG(error_raw_tp, struct sock *sk)
{
	struct event *e = sock_event(SOCK_ERROR, sk, NULL);

	if (!e)
		return 0;
	e->error = BPF_CORE_READ(sk, sk_err);
	SUBMIT(e);
	return 0;
}

static __always_inline void remember_established(struct sock *sk)
{
	__u64 key = (__u64)sk, now = bpf_ktime_get_boot_ns();

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP) /* see remember_owner */
		return;
	if (bpf_map_update_elem(&established, &key, &now, BPF_EXIST))
		PUT_SHARED(established, SHARE_ESTABLISHED, socket_netns(sk), &key, &now);
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(state_raw_tp, struct sock *sk, int before, int after)
{
	__u64 key = (__u64)sk;
	__u8 state = before;

	if (after == TCP_SYN_SENT || after == TCP_LISTEN)
		remember_owner(sk);
	else if (after == TCP_CLOSE)
		bpf_map_update_elem(&closed_states, &key, &state, BPF_ANY);
	else if (after == TCP_ESTABLISHED)
		remember_established(sk);
	return 0;
}

SEC("raw_tp/tcp_destroy_sock")
int BPF_PROG(destroy_raw_tp, struct sock *sk)
{
	__u64 key = (__u64)sk;

	forget_owner(sk);
	DELETE_SHARED(established, SHARE_ESTABLISHED, socket_netns(sk), &key);
	return 0;
}

/* What the peer has received out of order. */
static __always_inline void fill_sacked(struct event *e, struct tcp_sock *tp)
{
	struct tcp_sack_block blocks[4];
	int i;

	e->sacked = BPF_CORE_READ(tp, sacked_out);
	if (!e->sacked || bpf_core_read(blocks, sizeof(blocks), &tp->recv_sack_cache))
		return;
	for (i = 0; i < 4; i++)
		e->sacked_bytes += blocks[i].end_seq - blocks[i].start_seq;
}

/* Retransmission timeouts of segments that may exceed the path MTU. Fast retransmissions are left out: they repair single
 * losses. So are packets of up to 576 bytes, which every host accepts (RFC 791).
 */
#define MIN_PMTU 576

static __always_inline int handle_retransmit(struct sock *sk, struct sk_buff *skb)
{
	struct tcp_sock *tp = (void *)sk;
	struct inet_connection_sock *icsk = (void *)sk;
	__u32 len = BPF_CORE_READ(skb, len), mss = BPF_CORE_READ(tp, mss_cache);
	__u64 key = (__u64)sk, *since;
	struct event *e;
	__u32 payload;

	if (!BPF_CORE_READ(icsk, icsk_retransmits) || !BPF_CORE_READ(tp, snd_wnd))
		return 0;
	if (len > mss) /* GSO: the device segments it */
		len = mss;
	payload = len;
	len += BPF_CORE_READ(tp, tcp_header_len) + BPF_CORE_READ(icsk, icsk_af_ops, net_header_len);
	if (len <= MIN_PMTU)
		return 0;
	e = sock_event(SOCK_RETRANSMIT, sk, NULL);
	if (!e)
		return 0;
	e->len = len;
	e->payload = payload;
	e->acked = BPF_CORE_READ(tp, bytes_acked);
	e->timeouts = BPF_CORE_READ(icsk, icsk_retransmits);
	e->pmtu = BPF_CORE_READ(icsk, icsk_pmtu_cookie);
	fill_sacked(e, tp);
	since = bpf_map_lookup_elem(&established, &key);
	if (since)
		e->age = e->hdr.time - *since;
	SUBMIT(e);
	return 0;
}

SEC("raw_tp/tcp_retransmit_skb")
int BPF_PROG(retransmit_raw_tp, struct sock *sk, struct sk_buff *skb)
{
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	struct event *e;

	if (!is_fullsock(state) || state == TCP_SYN_RECV)
		return 0;
	if (state != TCP_SYN_SENT)
		return handle_retransmit(sk, skb);
	e = sock_event(SOCK_SYN_RETRANSMIT, sk, NULL);
	if (e)
		SUBMIT(e);
	return 0;
}

SEC("raw_tp/tcp_retransmit_synack")
int BPF_PROG(retransmit_synack_raw_tp, struct sock *sk)
{
	struct event *e = sock_event(SOCK_SYNACK_RETRANSMIT, sk, NULL);

	if (e)
		SUBMIT(e);
	return 0;
}

/* A SYN to a listener whose accept queue is full. It is freed by consume_skb, so that there is no drop reason. */
static __always_inline int handle_conn_request(struct sock *sk, struct sk_buff *skb)
{
	struct event *e;

	if (BPF_CORE_READ(sk, sk_ack_backlog) <= BPF_CORE_READ(sk, sk_max_ack_backlog))
		return 0;
	e = sock_event(SOCK_SYN_LOST, sk, NULL);
	if (!e)
		return 0;
	fill_packet(e, skb);
	SUBMIT(e);
	return 0;
}

SEC("fentry/tcp_conn_request")
int BPF_PROG(syn_fentry, void *rsk_ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	return handle_conn_request(sk, skb);
}

SEC("kprobe/tcp_conn_request")
int syn_kprobe(void *ctx)
{
	return handle_conn_request((void *)argument(ctx, 3), (void *)argument(ctx, 4));
}

SEC("raw_tp/icmp_send")
int BPF_PROG(icmp_raw_tp, struct sk_buff *skb, int type, int code)
{
	struct event *e = sock_event(SOCK_ICMP_SENT, NULL, skb);

	if (!e)
		return 0;
	e->reason = type << 8 | code;
	fill_packet(e, skb);
	SUBMIT(e);
	return 0;
}

static __always_inline int handle_full(struct sock *sk, struct sk_buff *skb)
{
	__u64 key = (__u64)sk, now = bpf_ktime_get_boot_ns();
	struct rate_limit *f = bpf_map_lookup_elem(&rate_limits, &key), first = {.last = now};
	__u32 count = 1;
	struct event *e;

	if (f && now - f->last < RATE_LIMIT_NS) {
		__sync_fetch_and_add(&f->pending, 1);
		COUNT(KIND_SOCK, seen);
		COUNT(KIND_SOCK, filtered);
		return 0;
	}
	if (f)
		count += f->pending;
	bpf_map_update_elem(&rate_limits, &key, &first, BPF_ANY);
	e = sock_event(SOCK_BUFFER_FULL, sk, NULL);
	if (!e)
		return 0;
	e->count = count;
	if (skb)
		fill_packet(e, skb);
	SUBMIT(e);
	return 0;
}

SEC("raw_tp/sock_rcvqueue_full")
int BPF_PROG(rcvqueue_full_raw_tp, struct sock *sk, struct sk_buff *skb)
{
	return handle_full(sk, skb);
}

/* Has the packet since 6.12 (commit e9669a00bba7, "net: udp: add IPv4/v6 addresses to the trace point"). */
SEC("raw_tp/udp_fail_queue_rcv_skb")
int BPF_PROG(udp_full_raw_tp, int error, struct sock *sk)
{
	return handle_full(sk, NULL);
}

#define TABLE_LOCAL	255   /* RT_TABLE_LOCAL: looked up first for every address */
#define FIRST_EPHEMERAL 32768 /* net.ipv4.ip_local_port_range by default */

/* Whether a datagram is an answer, by its ports (host order): from one that servers have to one that clients get. */
static __always_inline bool is_answer(__u16 sport, __u16 dport)
{
	return sport && sport < FIRST_EPHEMERAL && dport >= FIRST_EPHEMERAL;
}

/* Whether a route lookup is for a packet that a process here sends: TCP, DNS over UDP, or an answer. Both families' struct
 * flowi begin with struct flowi_common.
 */
static __always_inline bool is_local_lookup(struct flowi_common *flow, __u16 sport, __u16 dport, __u32 table)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u8 proto = BPF_CORE_READ(flow, flowic_proto);

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return false;
	if (proto == IPPROTO_UDP && dport != PORT_DNS && (!is_answer(sport, dport) || table == TABLE_LOCAL))
		return false;
	return BPF_CORE_READ(flow, flowic_iif) == 1 /* lo */ && !(BPF_CORE_READ(task, flags) & PF_KTHREAD) &&
	       sends(current_syscall());
}

/* When an answer was last reported that was not sent, by a hash of process and destination: a server answers as often as it is
 * asked.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} unsent_answers SEC(".maps");

/* Whether an answer to a destination, or to the words of its address in one, was reported a moment ago. */
static __always_inline bool was_reported(__u32 to)
{
	__u32 slot = ((bpf_get_current_pid_tgid() >> 32) * 31 + (to ^ to >> 10 ^ to >> 20)) % 1024;
	__u64 *last = bpf_map_lookup_elem(&unsent_answers, &slot);

	if (!last)
		return false;
	if (bpf_ktime_get_boot_ns() - *last < RATE_LIMIT_NS) {
		COUNT(KIND_SOCK, seen);
		COUNT(KIND_SOCK, filtered);
		return true;
	}
	*last = bpf_ktime_get_boot_ns();
	return false;
}

/* to is that of was_reported; 0 of what is no answer. */
static __always_inline struct event *no_route_event(struct flowi_common *flow, __u32 to, int err)
{
	struct event *e;

	if (to && was_reported(to))
		return NULL;
	e = sock_event(SOCK_NO_ROUTE, NULL, NULL);
	if (!e)
		return NULL;
	fill_task(&e->hdr);
	e->error = err;
	e->sock.proto = BPF_CORE_READ(flow, flowic_proto);
	return e;
}

/* A TCP connect, a DNS query or an answer over UDP for which one routing table has no route. If the other tables have none
 * either, which user space looks up, there will be no packet. Other UDP is left out: programs connect UDP sockets to addresses
 * of both families to find out which are reachable (RFC 6724).
 */
SEC("raw_tp/fib_table_lookup")
int BPF_PROG(fib_raw_tp, __u32 table, struct flowi4 *flow, void *hop, int err)
{
	__u16 sport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.sport));
	__u16 dport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.dport));
	struct event *e;
	__be32 addr;

	if (!err || !is_local_lookup(&flow->__fl_common, sport, dport, table))
		return 0;
	e = no_route_event(&flow->__fl_common, is_answer(sport, dport) ? BPF_CORE_READ(flow, daddr) : 0,
			   -err);
	if (!e)
		return 0;
	e->sock.family = 4;
	addr = BPF_CORE_READ(flow, saddr);
	map_ipv4(e->sock.src, &addr);
	addr = BPF_CORE_READ(flow, daddr);
	map_ipv4(e->sock.dst, &addr);
	e->sock.sport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.sport));
	e->sock.dport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.dport));
	SUBMIT(e);
	return 0;
}

#define RTF_REJECT 0x0200 /* linux/route.h: ABI */

SEC("raw_tp/fib6_table_lookup")
int BPF_PROG(fib6_raw_tp, void *net, struct fib6_result *found, struct fib6_table *table, struct flowi6 *flow)
{
	__u16 sport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.sport));
	__u16 dport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.dport));
	struct event *e;
	__u32 to = 0, word;

	if (!(BPF_CORE_READ(found, f6i, fib6_flags) & RTF_REJECT) ||
	    BPF_CORE_READ(table, tb6_id) == TABLE_LOCAL ||
	    !is_local_lookup(&flow->__fl_common, sport, dport, 0))
		return 0;
	if (is_answer(sport, dport)) /* pods of two nodes differ in the first half */
		for (int i = 0; i < 4; i++) {
			bpf_core_read(&word, sizeof(word), (void *)&flow->daddr + i * sizeof(word));
			to ^= word;
		}
	e = no_route_event(&flow->__fl_common, to, 0);
	if (!e)
		return 0;
	e->sock.family = 6;
	bpf_core_read(e->sock.src, sizeof(e->sock.src), &flow->saddr);
	bpf_core_read(e->sock.dst, sizeof(e->sock.dst), &flow->daddr);
	e->sock.sport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.sport));
	e->sock.dport = bpf_ntohs(BPF_CORE_READ(flow, uli.ports.dport));
	SUBMIT(e);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
