/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who called connect or listen, and when: later events of the socket come from interrupts. */
#ifndef KTRACE_OWNER_H
#define KTRACE_OWNER_H

#include "event.h"
#include "task.h"

struct owner {
	__u64 since; /* nanoseconds, CLOCK_BOOTTIME */
	__u32 pid;
	__u32 tid;
	__u8 comm[16];
};

/* All objects share it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* address of the socket */
	__type(value, struct owner);
} owners SEC(".maps");

/* In the system call. */
static __always_inline void remember_owner(__u64 sk)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct owner o = {.since = bpf_ktime_get_boot_ns(), .pid = id >> 32, .tid = id};

	read_comm(o.comm, (void *)bpf_get_current_task());
	bpf_map_update_elem(&owners, &sk, &o, BPF_ANY);
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
