/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which network namespace an inode number is: the kernel gives the number of one that is gone to the next. Include it after
 * DEFINE_RING.
 */
#ifndef KTRACE_NETNS_H
#define KTRACE_NETNS_H

#include "event.h"

#define NETNS_SLOTS \
	32768 /* a power of two: the kernel gives out the lowest free number, so few share a slot */

/* What namespaces were announced as, by the lowest bits of the inode number; all objects share it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NETNS_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} netns_ids SEC(".maps");

#define NO_COOKIE (1ULL << 63)

/* The namespace's cookie, unique for this boot and the same as SO_NETNS_COOKIE (5.14). Before 5.12, commit 3d368ab87cf6
 * ("net: initialize net->net_cookie at netns setup"), most have none: then its hash_mix, a random number of 32 bits, marked.
 */
static __always_inline __u64 netns_id(struct net *net)
{
	if (bpf_core_field_exists(net->net_cookie))
		return BPF_CORE_READ(net, net_cookie);
	return NO_COOKIE | BPF_CORE_READ(net, hash_mix);
}

/* Announces a namespace before the first record about it: a header alone, with the inode number, and in journey what
 * namespace has it now. Such records are no events, and not counted: one for which there is no room is sent before the next.
 */
static __noinline int announce_netns(struct net *net)
{
	__u32 inum = BPF_CORE_READ(net, ns.inum), slot = inum % NETNS_SLOTS;
	__u64 id = netns_id(net), *announced;
	struct hdr *h;

	announced = bpf_map_lookup_elem(&netns_ids, &slot);
	if (!inum || !announced || *announced == id)
		return 0;
	h = bpf_ringbuf_reserve(&events, sizeof(*h), 0);
	if (!h)
		return 0;
	__builtin_memset(h, 0, sizeof(*h));
	begin(h, KIND_NETNS, sizeof(*h));
	h->netns = inum;
	h->journey = id;
	SUBMIT(h);
	*announced = id; /* not before: a record of another CPU must not come first */
	return 0;
}

#endif
