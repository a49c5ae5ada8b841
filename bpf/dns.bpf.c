// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* DNS over TCP: segments that this node's DNS clients and servers send and receive. cgroup_skb/egress and ingress, at the
 * root of cgroup2.
 *
 * Segments with data or FIN are sent to user space, which reassembles messages. SYNs, resets and drops come from the path
 * object. For other sockets a program compares two ports.
 */
enum kind {
	KIND_SEGMENT = 10,
};

#include "event.h"
#include "skb.h"

enum segment_direction {
	SEGMENT_IN = 1,
	SEGMENT_OUT = 2,
};

struct event {
	struct hdr hdr;
	__u32 len;   /* of the packet, from the network header on */
	__u32 taken; /* bytes of it that follow the record */
	enum segment_direction direction;
	struct tuple socket; /* from the local to the remote end, as the socket has them: before NAT */
	__u32 zero;
};

DEFINE_RING(struct event);

#include "netns.h"
#include "segment.h"
#include "dnsport.h"
#include "sock.h"
#include "task.h"

#define FLAG_FIN   0x01
#define MAX_PACKET (65536 + 64) /* bytes of a packet; larger ones (BIG TCP) are truncated */

/* Fills in the current task if it is the sender: it is in a system call that sends, and in the socket's cgroup. */
static __always_inline void fill_sender(struct event *e, struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD || netns_of(task) != e->hdr.netns ||
	    sock_cgroup(sk) != BPF_CORE_READ(task, cgroups, dfl_cgrp) || !sends(current_syscall()))
		return;
	e->hdr.pid = BPF_CORE_READ(task, tgid);
	e->hdr.tid = BPF_CORE_READ(task, pid);
	e->hdr.cgroup = cgroup_id_of(task);
	read_comm(e->hdr.comm, task);
}

static __always_inline void fill(struct event *e, const struct segment *s)
{
	struct sock *sk = sock_of(s);

	fill_ends(&e->socket, sk);
	e->direction = s->out ? SEGMENT_OUT : SEGMENT_IN;
	if (s->out)
		fill_sender(e, sk);
}

#define ROOM(room) ROOM_FOR(room, KIND_SEGMENT)
#define ROOMS(of)  of(256) of(1024) of(4096) of(16384) of(MAX_PACKET)

static __noinline int send(const struct segment *s)
{
	struct event head = {}, *e;
	__u32 n = s->skb->len;
	long len;

	fill_segment(&head, s);
	if (n > MAX_PACKET)
		n = MAX_PACKET;
	announce_segment(s);
	ROOMS(ROOM)
	return 0;
}

/* Whether the socket is a DNS client's or server's. */
static __always_inline bool is_dns_socket(struct bpf_sock *sk)
{
	__u16 local = sk->src_port, remote = bpf_ntohs(sk->dst_port);
	struct dns_backends *b;
	__u32 zero = 0;

	if (is_dns_port(local) || is_dns_port(remote))
		return true;
	b = bpf_map_lookup_elem(&dns_backends, &zero);
	return b && (b->n || b->next) && is_dns_backend(b, local);
}

static __always_inline int handle(struct __sk_buff *skb, bool out)
{
	struct segment s = {.skb = skb, .sk = skb->sk, .out = out};

	if (!s.sk || !is_dns_socket(s.sk))
		return SK_PASS;
	s.sk = bpf_sk_fullsock(s.sk);
	if (!s.sk || !parse_segment(&s) || !(s.payload || s.flags & FLAG_FIN) || !selected(&s))
		return SK_PASS;
	send(&s);
	return SK_PASS;
}

SEC("cgroup_skb/egress")
int dns_out(struct __sk_buff *skb)
{
	return handle(skb, true);
}

SEC("cgroup_skb/ingress")
int dns_in(struct __sk_buff *skb)
{
	return handle(skb, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
