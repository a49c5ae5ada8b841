/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Shares of maps that anyone can fill: an owner, which is a network namespace or a cgroup, may hold as many entries as are free.
 * So one that takes all it can gets half of the map, two get a third each, and there is always room for who holds little. Types
 * and functions only, but for the accounts.
 */
#ifndef KTRACE_SHARE_H
#define KTRACE_SHARE_H

#include "event.h"

/* The maps, in the order of Shares in tracer/probe/shares.go. */
enum share_table {
	SHARE_OWNERS,
	SHARE_ESTABLISHED,
	SHARE_SYNCS,
	SHARE_CONNECTIONS,
	SHARE_TABLES,
};

#define SHARE_SLOTS \
	1024 /* owners with the same lowest bits have one account: the kernel gives out low numbers */

struct share {
	__u64 owner;   /* to whom an entry was refused last */
	__u64 refused; /* entries, since ktrace began */
	__s64 held;
};

/* All objects share it, and user space maps it into its memory. Of each table the accounts, then the sum of all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SHARE_TABLES *(SHARE_SLOTS + 1));
	__type(key, __u32);
	__type(value, struct share);
} shares SEC(".maps");

static __always_inline struct share *share_at(enum share_table table, __u32 slot)
{
	__u32 i = table * (SHARE_SLOTS + 1) + slot;

	return bpf_map_lookup_elem(&shares, &i);
}

static __always_inline struct share *share_of(enum share_table table, __u64 owner)
{
	return share_at(table, owner % SHARE_SLOTS);
}

static __always_inline void refuse_share(struct share *s, __u64 owner)
{
	s->owner = owner;
	__sync_fetch_and_add(&s->refused, 1);
}

/* Counts an entry that is about to be put into a map with room for so many. False if the owner holds its share; that is counted. */
static __always_inline bool take_share(enum share_table table, __u64 owner, __s64 room)
{
	struct share *s = share_of(table, owner), *all = share_at(table, SHARE_SLOTS);

	if (!s || !all)
		return false;
	if (s->held >= room - all->held) {
		refuse_share(s, owner);
		return false;
	}
	__sync_fetch_and_add(&s->held, 1);
	__sync_fetch_and_add(&all->held, 1);
	return true;
}

/* Counts an entry that was deleted. */
static __always_inline void give_share(enum share_table table, __u64 owner)
{
	struct share *s = share_of(table, owner), *all = share_at(table, SHARE_SLOTS);

	if (!s || !all)
		return;
	__sync_fetch_and_add(&s->held, -1);
	__sync_fetch_and_add(&all->held, -1);
}

/* Puts a new entry into a map of that table, on its owner's account. Nonzero if there is no room for it. */
#define PUT_SHARED(map, table, owner, key, value)                                   \
	({                                                                          \
		long __err = -1;                                                    \
		__u64 __owner = owner;                                              \
		if (take_share(table, __owner, table##_ROOM)) {                     \
			__err = bpf_map_update_elem(&map, key, value, BPF_NOEXIST); \
			if (__err)                                                  \
				give_share(table, __owner);                         \
		}                                                                   \
		__err;                                                              \
	})

#define DELETE_SHARED(map, table, owner, key)        \
	({                                           \
		__u64 __owner = owner;               \
		if (!bpf_map_delete_elem(&map, key)) \
			give_share(table, __owner);  \
	})

#endif
