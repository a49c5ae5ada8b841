/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Fields of sockets. Functions only. */
#ifndef KTRACE_SOCK_H
#define KTRACE_SOCK_H

#include "skb.h"

enum sock_flags {
	SOCK_DONE,
	SOCK_LINGER,
};

/* As sk_fullsock: a request or TIME_WAIT socket has only the fields of sock_common. */
static __always_inline bool is_fullsock(__u8 state)
{
	return state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV;
}

static __always_inline __u32 socket_netns(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* The socket's inode number, as in /proc/PID/fd; 0 if no process holds the socket. */
static __always_inline __u64 sock_inode(struct sock *sk)
{
	struct socket *s = BPF_CORE_READ(sk, sk_socket);
	struct socket_alloc *a;

	if (!s)
		return 0;
	a = (void *)s - bpf_core_field_offset(struct socket_alloc, socket);
	return BPF_CORE_READ(a, vfs_inode.i_ino);
}

#define HAS_FLAG(sk, flag) \
	(BPF_CORE_READ(sk, __sk_common.skc_flags) >> bpf_core_enum_value(enum sock_flags, flag) & 1)

/* Whether close() resets the connection: SO_LINGER with time 0. */
static __always_inline bool linger_zero(struct sock *sk)
{
	return HAS_FLAG(sk, SOCK_LINGER) && !BPF_CORE_READ(sk, sk_lingertime);
}

/* The two ends of a TCP socket, from its own to its peer's. An IPv6 socket with IPv4-mapped addresses has those of IPv4. */
static __always_inline void fill_ends(struct tuple *t, struct sock *sk)
{
	t->proto = IPPROTO_TCP;
	t->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	t->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
		__be32 src = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		__be32 dst = BPF_CORE_READ(sk, __sk_common.skc_daddr);

		t->family = 4;
		map_ipv4(t->src, &src);
		map_ipv4(t->dst, &dst);
		return;
	}
	bpf_core_read(t->src, sizeof(t->src), &sk->__sk_common.skc_v6_rcv_saddr);
	bpf_core_read(t->dst, sizeof(t->dst), &sk->__sk_common.skc_v6_daddr);
	t->family = is_mapped(t->dst) ? 4 : 6;
}

#endif
