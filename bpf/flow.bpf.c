// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* What becomes of TCP connections as their sockets know it: SYNs that are sent again, connections that are established in
 * spite of that, and those that fail, with the error that the application gets. One record for each such change, none for
 * a packet, and none for a connection that is established at once. raw_tp inet_sock_set_state, tcp_destroy_sock (4.16),
 * tcp_retransmit_skb (4.15).
 */
enum kind {
	KIND_FLOW = 12,
};

#include "skb.h"
#include "sock.h"

enum flow_state {
	FLOW_CONNECTING = 1,  /* a SYN is sent again */
	FLOW_ESTABLISHED = 2, /* after SYNs that were sent again */
	FLOW_FAILED = 3,      /* the socket is closed and was never connected */
};

struct event {
	struct hdr hdr; /* pid is the process that called connect, 0 if that was before ktrace */
	enum flow_state state;
	__s32 error;	   /* errno that the application gets, positive; 0 if it closed the socket itself */
	__s32 soft_error;  /* errno of the last ICMP error that did not end the attempt */
	__u32 retransmits; /* SYNs that were sent again */
	__u32 timeouts;	   /* after which a SYN was sent again, or could not be: no neighbour, no memory */
	struct tuple ends; /* from the client; sport is 0 if no port was free */
	__u64 age;	   /* nanoseconds since connect, 0 if that was before ktrace */
};

DEFINE_RING(struct event);

#include "netns.h"
#include "owner.h"

/* Whether the sock object is there, too, and remembers who connects. */
const volatile bool owners_kept = false;

static __always_inline void send(enum flow_state state, struct sock *sk)
{
	struct inet_connection_sock *icsk = (void *)sk;
	struct net *net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	struct event *e;
	__u64 since;

	announce_netns(net);
	e = RESERVE(struct event, KIND_FLOW, sizeof(*e));
	if (!e)
		return;
	e->state = state;
	e->hdr.netns = BPF_CORE_READ(net, ns.inum);
	e->hdr.cgroup = BPF_CORE_READ(sock_cgroup(sk), kn, id);
	fill_ends(&e->ends, sk);
	e->ends.sport = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	e->error = BPF_CORE_READ(sk, sk_err);
	e->soft_error = BPF_CORE_READ(sk, sk_err_soft);
	e->retransmits = BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
	e->timeouts = BPF_CORE_READ(icsk, icsk_retransmits);
	since = fill_owner(&e->hdr, sk);
	if (since)
		e->age = e->hdr.time - since;
	SUBMIT(e);
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(flow_state_raw_tp, struct sock *sk, int before, int after)
{
	if (after == TCP_SYN_SENT && !owners_kept)
		remember_owner(sk);
	else if (before == TCP_SYN_SENT && after == TCP_CLOSE)
		send(FLOW_FAILED, sk);
	else if (before == TCP_SYN_SENT && BPF_CORE_READ((struct tcp_sock *)sk, total_retrans))
		send(FLOW_ESTABLISHED, sk);
	return 0;
}

SEC("raw_tp/tcp_destroy_sock")
int BPF_PROG(flow_destroy_raw_tp, struct sock *sk)
{
	if (!owners_kept)
		forget_owner(sk);
	return 0;
}

SEC("raw_tp/tcp_retransmit_skb")
int BPF_PROG(flow_retransmit_raw_tp, struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_SYN_SENT)
		send(FLOW_CONNECTING, sk);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
