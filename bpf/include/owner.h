/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who called connect or listen, and when: later events of the socket come from interrupts. */
#ifndef KTRACE_OWNER_H
#define KTRACE_OWNER_H

#include "event.h"
#include "share.h"
#include "sock.h"
#include "task.h"

struct owner {
	__u64 since; /* nanoseconds, CLOCK_BOOTTIME */
	__u32 pid;
	__u32 tid;
	__u8 comm[16];
};

#define SHARE_OWNERS_ROOM 16384

/* All objects share it. An entry is there until the socket is destroyed, as long as that takes: a listener's is needed after days. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SHARE_OWNERS_ROOM);
	__type(key, __u64); /* address of the socket */
	__type(value, struct owner);
} owners SEC(".maps");

/* In the system call. Only of sockets that forget_owner is called for: SCTP has states, too, and no tcp_destroy_sock. */
static __always_inline void remember_owner(struct sock *sk)
{
	__u64 id = bpf_get_current_pid_tgid(), key = (__u64)sk;
	struct owner o = {.since = bpf_ktime_get_boot_ns(), .pid = id >> 32, .tid = id};

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return;
	read_comm(o.comm, (void *)bpf_get_current_task());
	if (bpf_map_update_elem(&owners, &key, &o, BPF_EXIST)) /* an attempt after another */
		PUT_SHARED(owners, SHARE_OWNERS, socket_netns(sk), &key, &o);
}

/* At the end of the socket: raw_tp tcp_destroy_sock (4.16). */
static __always_inline void forget_owner(struct sock *sk)
{
	__u64 key = (__u64)sk;

	DELETE_SHARED(owners, SHARE_OWNERS, socket_netns(sk), &key);
}

/* Fills in the process of a socket. Returns since when it connects or listens, 0 if that was before ktrace. */
static __always_inline __u64 fill_owner(struct hdr *h, struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct owner *o = bpf_map_lookup_elem(&owners, &key);

	if (!o)
		return 0;
	h->pid = o->pid;
	h->tid = o->tid;
	__builtin_memcpy(h->comm, o->comm, sizeof(o->comm));
	return o->since;
}

#endif
