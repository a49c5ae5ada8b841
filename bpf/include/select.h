/* What the user selected, kept current by user space, so that what was not selected costs no event.
 * The maps are shared by all objects of a run.
 */
#ifndef KTRACE_SELECT_H
#define KTRACE_SELECT_H

#include "event.h"

const volatile bool selecting = false; /* false: everything is selected, the maps are not looked at */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* cgroup id */
	__type(value, __u8);
} sel_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* inode of a network namespace; never the node's own */
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

#endif
