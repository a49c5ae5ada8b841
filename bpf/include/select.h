/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The user's selection of pods, as cgroups, network namespaces and addresses. User space keeps the maps current; all
 * objects share them. Events outside the selection are filtered in the kernel.
 */
#ifndef KTRACE_SELECT_H
#define KTRACE_SELECT_H

#include "event.h"

const volatile bool selecting = false; /* false: everything is selected, and the maps are not read */
const volatile __u32 host_netns = 0;   /* inode of the host's network namespace */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* cgroup id */
	__type(value, __u8);
} sel_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* inode of a network namespace; never the host's */
	__type(value, __u8);
} sel_netns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u8[16]); /* address; IPv4 as ::ffff:a.b.c.d */
	__type(value, __u8);
} sel_addrs SEC(".maps");

static __always_inline bool cgroup_selected(__u64 id)
{
	return !selecting || (id && bpf_map_lookup_elem(&sel_cgroups, &id));
}

static __always_inline bool netns_selected(__u32 inum)
{
	return !selecting || (inum && bpf_map_lookup_elem(&sel_netns, &inum));
}

/* addr: 16 bytes, IPv4 as ::ffff:a.b.c.d */
static __always_inline bool addr_selected(const void *addr)
{
	return !selecting || bpf_map_lookup_elem(&sel_addrs, addr);
}

/* Selects a cgroup at once. User space, which learns of it later, does the same. */
static __always_inline void select_cgroup(__u64 id)
{
	__u8 one = 1;

	bpf_map_update_elem(&sel_cgroups, &id, &one, BPF_ANY);
}

static __always_inline void select_netns(__u32 inum)
{
	__u8 one = 1;

	bpf_map_update_elem(&sel_netns, &inum, &one, BPF_ANY);
}

#endif
