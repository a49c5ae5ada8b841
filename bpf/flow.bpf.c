// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* What becomes of TCP connections as their sockets know it: SYNs that are sent again, connections that are established in
 * spite of that, those that fail, with the error that the application gets, and established ones in trouble: much is sent
 * again, nothing is acknowledged, the peer's or the own window stays zero, or they end by an error. One record for each such
 * change, none for a packet, and none for a connection that does well. raw_tp inet_sock_set_state (4.16), tcp_retransmit_skb
 * (4.15), tcp_destroy_sock (4.16); sockets that are open already, or that hang without an event, are found by iter/task_file (5.8).
 */
enum kind {
	KIND_FLOW = 12,
};

#include "conn.h"

/* Whether connections are reported that do well, too: when they end, and as they are found open. */
const volatile bool every_flow = 0;

enum flow_state {
	FLOW_CONNECTING = 1,  /* a SYN is sent again */
	FLOW_ESTABLISHED = 2, /* after SYNs that were sent again */
	FLOW_FAILED = 3,      /* the socket is closed and was never connected */
	FLOW_OPEN = 4,	      /* it is established; conn is valid */
	FLOW_ENDED = 5,	      /* it was, and the socket is closed; conn is valid */
};

enum flow_role {
	ROLE_UNKNOWN = 0, /* it was established before ktrace */
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* What the connections to one address sent, as far as they have ended. */
struct totals {
	__u64 segs; /* with data, those that were sent again included */
	__u64 retrans;
	__u32 flows;	/* with data */
	__u32 lossy;	/* of them, with segments that were sent again */
	__u32 bursts;	/* quarters of a second in which one with such segments ended */
	__u32 reported; /* retransmissions at the last record */
};

struct event {
	struct hdr
		hdr; /* pid is the process that called connect, or that has the socket, 0 if that is not known */
	enum flow_state state;
	__s32 error;	   /* errno that the application gets, positive; 0 if it closed the socket itself */
	__s32 soft_error;  /* errno of the last ICMP error that did not end the attempt */
	__u32 retransmits; /* SYNs that were sent again */
	__u32 timeouts;	   /* after which a SYN was sent again, or could not be: no neighbour, no memory */
	struct tuple
		ends; /* from the client, or from an established socket; sport is 0 if no port was free */
	__u64 age;    /* nanoseconds since connect, 0 if that was before ktrace */
	__u64 established; /* nanoseconds since, 0 if that was before ktrace */
	__u64 inode;	   /* of the socket, 0 if no process holds it */
	__u32 handshake;   /* RTT, microseconds, 0 if unknown */
	__u32 old_segs;	   /* of conn.segs_out, what was sent before ktrace */
	__u32 lost;	   /* segments sent again since, without those that the peer had already */
	__u32 bursts;	   /* quarters of a second in which segments were sent again */
	enum flow_role role;
	__u32 pad;
	struct conn conn;
	struct totals totals; /* of all connections to that address, valid if flows is not 0 */
};

DEFINE_RING(struct event);

#include "netns.h"
#include "owner.h"

/* Whether the sock object is there, too, and remembers who connects. */
const volatile bool owners_kept = false;

/* An established connection. */
struct flow {
	__u64 begun; /* nanoseconds, CLOCK_BOOTTIME; 0 if before ktrace */
	__u64 established;
	__u64 session;	/* of the iterator that found it last */
	__u32 segs;	/* sent before ktrace knew of it */
	__u32 lost;	/* sent again before that: of one that is new, SYNs */
	__u32 reported; /* retransmissions at the last record */
	__u32 bursts;
	__u32 burst; /* the last: jiffies */
	__u32 handshake;
	__u8 role;
	__u8 timeouts; /* at the last record */
	__u8 pad[2];
	__u32 netns;
};

#define SHARE_CONNECTIONS_ROOM 65536

/* Those for which there is no room are not kept, and counted: TCP counts for them nevertheless. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SHARE_CONNECTIONS_ROOM);
	__type(key, __u64); /* address of the socket */
	__type(value, struct flow);
} connections SEC(".maps");

struct peer {
	__u32 netns;
	__u32 addr[4];
};

/* What ended connections sent, by whom they were with. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct peer);
	__type(value, struct totals);
} peers SEC(".maps");

/* begun + found = ended + evicted + entries of connections. */
struct books {
	__u64 begun;   /* established, as ktrace saw */
	__u64 found;   /* that were established already */
	__u64 ended;   /* of those in connections */
	__u64 evicted; /* no room was left, or their end was missed */
	__u64 unseen;  /* ended, and were not in connections */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct books);
} flow_books SEC(".maps");

#define BOOK(field)                                                            \
	({                                                                     \
		__u32 __zero = 0;                                              \
		struct books *__b = bpf_map_lookup_elem(&flow_books, &__zero); \
		if (__b)                                                       \
			__sync_fetch_and_add(&__b->field, 1);                  \
	})

/* Segments sent again, without those that the peer had already. */
static __always_inline __u32 lost_segs(struct tcp_sock *tp)
{
	return BPF_CORE_READ(tp, total_retrans) - OPTIONAL(tp, dsack_dups);
}

/* A record about a socket, without what only established ones have. */
static __always_inline struct event *flow_event(enum flow_state state, struct sock *sk)
{
	struct net *net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	struct event *e;

	announce_netns(net);
	e = RESERVE(struct event, KIND_FLOW, sizeof(*e));
	if (!e)
		return NULL;
	e->state = state;
	e->hdr.netns = BPF_CORE_READ(net, ns.inum);
	e->hdr.cgroup = BPF_CORE_READ(sock_cgroup(sk), kn, id);
	fill_ends(&e->ends, sk);
	e->ends.sport = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	e->error = BPF_CORE_READ(sk, sk_err);
	e->soft_error = BPF_CORE_READ(sk, sk_err_soft);
	return e;
}

static __always_inline void send_attempt(enum flow_state state, struct sock *sk)
{
	struct event *e = flow_event(state, sk);
	__u64 since;

	if (!e)
		return;
	e->retransmits = BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
	e->timeouts = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_retransmits);
	since = fill_owner(&e->hdr, sk);
	if (since)
		e->age = e->hdr.time - since;
	SUBMIT(e);
}

/* task is one that has the socket open, NULL if none is known. t is NULL if nothing is known of others. */
static __noinline int send_flow(struct sock *sk, struct flow *f, struct totals *t, struct task_struct *task,
				__u32 states)
{
	struct event *e = flow_event(states >> 8, sk);

	if (!e)
		return 0;
	fill_conn(&e->conn, sk, states);
	fill_owner(&e->hdr, sk);
	if (task) {
		e->hdr.pid = BPF_CORE_READ(task, tgid);
		e->hdr.tid = BPF_CORE_READ(task, pid);
		read_comm(e->hdr.comm, task);
	}
	e->inode = sock_inode(sk);
	e->hdr.ifindex = BPF_CORE_READ(sk, sk_dst_cache, dev, ifindex);
	if (f) {
		if (f->begun)
			e->age = e->hdr.time - f->begun;
		if (f->established)
			e->established = e->hdr.time - f->established;
		e->handshake = f->handshake;
		e->old_segs = f->segs;
		e->lost = lost_segs((void *)sk) - f->lost;
		e->bursts = f->bursts;
		e->role = f->role;
	}
	if (t)
		e->totals = *t;
	SUBMIT(e);
	return 0;
}

#define STATES(flow_state, tcp_state) ((flow_state) << 8 | (tcp_state))

/* Whether the entry was there: only one of two that delete it counts it. */
static __always_inline bool drop_flow(__u64 key, __u32 netns)
{
	if (bpf_map_delete_elem(&connections, &key))
		return false;
	give_share(SHARE_CONNECTIONS, netns);
	return true;
}

/* Keeps a connection, in place of one at that address whose end was missed. NULL if no room is left. */
static __always_inline struct flow *keep(struct sock *sk, struct flow *f)
{
	__u64 key = (__u64)sk;
	struct flow *old = bpf_map_lookup_elem(&connections, &key);

	if (old && drop_flow(key, old->netns))
		BOOK(evicted);
	f->netns = socket_netns(sk);
	if (PUT_SHARED(connections, SHARE_CONNECTIONS, f->netns, &key, f)) {
		BOOK(evicted);
		return NULL;
	}
	return bpf_map_lookup_elem(&connections, &key);
}

static __always_inline void begin_flow(struct sock *sk, __u8 role)
{
	struct flow f = {.established = bpf_ktime_get_boot_ns(), .role = role};
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	struct owner *o;

	f.begun = f.established;
	f.lost = lost_segs(tp);
	f.handshake = BPF_CORE_READ(tp, srtt_us) >> 3;
	if (role == ROLE_CLIENT) {
		o = bpf_map_lookup_elem(&owners, &key);
		if (o)
			f.begun = o->since;
	}
	BOOK(begun);
	keep(sk, &f);
}

/* The entry of a connection that may have been established before ktrace. */
static __always_inline struct flow *find_flow(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct flow *f = bpf_map_lookup_elem(&connections, &key), old = {};
	struct tcp_sock *tp = (void *)sk;

	if (f)
		return f;
	old.segs = BPF_CORE_READ(tp, data_segs_out);
	old.lost = lost_segs(tp);
	BOOK(found);
	return keep(sk, &old);
}

/* Loss that says something of the way: of at least so many segments, one of sixteen. */
#define MIN_LOST  8
#define LOST_RATE 16

/* Adds a connection that has ended to those with its peer. Returns them if they lose much, and more than at the last record. */
static __always_inline bool add_to_peer(struct sock *sk, struct flow *f, struct totals *to)
{
	__u32 segs = BPF_CORE_READ((struct tcp_sock *)sk, data_segs_out) - f->segs;
	int lost = lost_segs((void *)sk) - f->lost;
	struct totals none = {}, *t;
	struct peer key = {};

	if (!segs)
		return false;
	key.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		key.addr[3] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	else
		bpf_core_read(key.addr, sizeof(key.addr), &sk->__sk_common.skc_v6_daddr);
	t = bpf_map_lookup_elem(&peers, &key);
	if (!t) {
		bpf_map_update_elem(&peers, &key, &none, BPF_NOEXIST);
		t = bpf_map_lookup_elem(&peers, &key);
		if (!t)
			return false;
	}
	__sync_fetch_and_add(&t->segs, segs);
	__sync_fetch_and_add(&t->flows, 1);
	if (lost <= 0)
		return false;
	__sync_fetch_and_add(&t->retrans, lost);
	__sync_fetch_and_add(&t->lossy, 1);
	__sync_fetch_and_add(&t->bursts, f->bursts);
	*to = *t;
	if (to->retrans < MIN_LOST || to->retrans * LOST_RATE < to->segs ||
	    to->retrans < 2 * (__u64)to->reported)
		return false;
	t->reported = to->retrans;
	return true;
}

#define ECONNRESET 104
#define ETIMEDOUT  110
#define EPIPE	   32

#define PAUSE_NS 2000000000ULL /* of a connection that something in between may forget meanwhile */

/* Whether a connection ends by an error that the packets do not explain: a reset is reported by the sock object, and only one
 * after a pause is more than that.
 */
static __always_inline bool ends_badly(struct sock *sk)
{
	int error = BPF_CORE_READ(sk, sk_err);

	if (error == ECONNRESET || error == EPIPE)
		return since(BPF_CORE_READ((struct tcp_sock *)sk, rcv_tstamp)) > PAUSE_NS;
	return error;
}

#define STALL_NS 1000000000ULL /* of a window of zero, and of a process that does not read */

/* Whether data waits for the peer's window, and has for a while. What was sent is acknowledged. */
static __always_inline bool peer_stalls(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;
	__u32 next = BPF_CORE_READ(tp, snd_nxt);

	return BPF_CORE_READ(tp, write_seq) != next && BPF_CORE_READ(tp, snd_una) == next &&
	       BPF_CORE_READ(tp, snd_wnd) < BPF_CORE_READ(tp, mss_cache) &&
	       since(BPF_CORE_READ(tp, lsndtime)) > STALL_NS;
}

/* Whether the own window is zero, and has been for a while: the process does not read. */
static __always_inline bool stalls(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;
	__u32 next = BPF_CORE_READ(tp, rcv_nxt);

	return BPF_CORE_READ(tp, copied_seq) != next &&
	       (int)(BPF_CORE_READ(tp, rcv_wup) + BPF_CORE_READ(tp, rcv_wnd) - next) <= 0 &&
	       since(BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ack.lrcvtime)) > STALL_NS;
}

static __always_inline void end_flow(struct sock *sk, __u8 before)
{
	__u64 key = (__u64)sk;
	struct flow *f = bpf_map_lookup_elem(&connections, &key);
	struct totals t = {};
	bool lossy = f && add_to_peer(sk, f, &t);

	if (every_flow || lossy || ends_badly(sk) || peer_stalls(sk))
		send_flow(sk, f, t.flows ? &t : NULL, NULL, STATES(FLOW_ENDED, before));
	if (f && drop_flow(key, f->netns))
		BOOK(ended);
	else
		BOOK(unseen);
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(flow_state_raw_tp, struct sock *sk, int before, int after)
{
	bool connects = before == TCP_SYN_SENT;

	if (after == TCP_SYN_SENT && !owners_kept)
		remember_owner(sk);
	else if (connects && after == TCP_CLOSE)
		send_attempt(FLOW_FAILED, sk);
	else if (connects && BPF_CORE_READ((struct tcp_sock *)sk, total_retrans))
		send_attempt(FLOW_ESTABLISHED, sk);
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || before == TCP_LISTEN || before == TCP_CLOSE)
		return 0;
	if (connects || before == TCP_SYN_RECV) {
		if (after != TCP_CLOSE)
			begin_flow(sk, connects ? ROLE_CLIENT : ROLE_SERVER);
	} else if (after == TCP_CLOSE) {
		end_flow(sk, before);
	} else if ((after == TCP_FIN_WAIT1 || after == TCP_LAST_ACK) && peer_stalls(sk)) {
		send_flow(sk, find_flow(sk), NULL, NULL, STATES(FLOW_OPEN, before));
	}
	return 0;
}

SEC("raw_tp/tcp_destroy_sock")
int BPF_PROG(flow_destroy_raw_tp, struct sock *sk)
{
	if (!owners_kept)
		forget_owner(sk);
	return 0;
}

#define BURST_NS 250000000ULL

/* Retransmission timeouts in a row after which a connection is reported: 3 and 12 s, if the RTO was 200 ms. */
static __always_inline bool hangs(__u8 timeouts)
{
	return timeouts == 4 || timeouts == 6;
}

/* Data is sent again. */
static __always_inline void handle_retransmit(struct sock *sk, __u8 state)
{
	struct tcp_sock *tp = (void *)sk;
	__u8 timeouts = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_retransmits);
	struct flow *f = find_flow(sk);
	__u32 now = bpf_jiffies64();
	int lost;

	if (!f || !BPF_CORE_READ(tp, snd_wnd)) /* no loss: the peer's window is zero */
		return;
	if (!f->bursts || (__u64)(now - f->burst) * tick_ns > BURST_NS) {
		f->burst = now;
		f->bursts++;
	}
	lost = lost_segs(tp) - f->lost;
	if (!(hangs(timeouts) && f->timeouts != timeouts) &&
	    (lost < MIN_LOST || lost < 2 * (int)f->reported ||
	     lost * LOST_RATE < (int)(BPF_CORE_READ(tp, data_segs_out) - f->segs)))
		return;
	f->timeouts = timeouts;
	f->reported = lost;
	send_flow(sk, f, NULL, NULL, STATES(FLOW_OPEN, state));
}

SEC("raw_tp/tcp_retransmit_skb")
int BPF_PROG(flow_retransmit_raw_tp, struct sock *sk)
{
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	if (state == TCP_SYN_SENT)
		send_attempt(FLOW_CONNECTING, sk);
	else if (is_fullsock(state) && state != TCP_SYN_RECV)
		handle_retransmit(sk, state);
	return 0;
}

struct bpf_iter_meta {
	void *seq;
	__u64 session_id;
	__u64 seq_num;
};

/* linux/bpf.h: ABI. */
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	__u32 pad;
	struct file *file;
};

#define S_IFMT	 0170000
#define S_IFSOCK 0140000

/* The TCP socket behind a file, NULL if it is none. */
static __always_inline struct sock *tcp_of(struct file *file)
{
	struct socket *socket;
	struct sock *sk;
	__u16 family;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return NULL;
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? sk : NULL;
}

SEC("iter/task_file")
int flow_iter(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	__u64 session = ctx->meta->session_id;
	struct flow *f;
	struct sock *sk;
	__u8 state;

	if (!task || !file)
		return 0;
	sk = tcp_of(file);
	if (!sk)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (!is_fullsock(state) || state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_CLOSE ||
	    state == TCP_LISTEN)
		return 0;
	f = find_flow(sk);
	if (f && f->session == session) /* several processes, or files of one, have it */
		return 0;
	if (f)
		f->session = session;
	if (every_flow || peer_stalls(sk) || stalls(sk))
		send_flow(sk, f, NULL, task, STATES(FLOW_OPEN, state));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
