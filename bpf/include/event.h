/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The header of every record, the ring buffer that carries records to user space, and the counters of each kind of
 * record, so that nothing is lost uncounted. The including file declares enum kind: the kinds of record that it sends.
 * Numbers are the recorded format: unique among all objects, below MAX_KINDS, never reused. 1 is user space's.
 */
#ifndef KTRACE_EVENT_H
#define KTRACE_EVENT_H

#include "kernel.h"

#define MAX_KINDS 16

enum shared_kind {
	KIND_NETNS = 11, /* of any object: see netns.h */
};

struct hdr {
	__u32 size; /* of the whole record, bytes */
	__u16 kind; /* enum kind */
	__u16 cpu;
	__u64 time; /* nanoseconds, CLOCK_BOOTTIME */
	__u32 pid;  /* process (tgid), 0 if the current task is unrelated to the event */
	__u32 tid;
	__u64 cgroup;  /* cgroup id of the process or socket, 0 if unknown */
	__u32 netns;   /* inode of the network namespace, 0 if unknown */
	__u32 ifindex; /* device in that namespace, 0 if none */
	__u64 journey; /* id of one packet's path through this node, 0 if not a packet */
	__u8 comm[16]; /* valid iff pid != 0; not always terminated */
};

/* Counters of one kind of record, per CPU: seen = sent + filtered + lost_ring + lost_map. */
struct counters {
	__u64 seen;	 /* events that the programs saw */
	__u64 filtered;	 /* not sent: the user did not select them */
	__u64 lost_ring; /* the ring buffer was full */
	__u64 lost_map;	 /* a map was full, or the event that pairs with this one was missed */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_KINDS);
	__type(key, enum kind);
	__type(value, struct counters);
} counters SEC(".maps");

/* Atomic: programs on one CPU can interrupt each other. */
#define COUNT(of_kind, field)                                                \
	({                                                                   \
		enum kind __k = of_kind;                                     \
		struct counters *__c = bpf_map_lookup_elem(&counters, &__k); \
		if (__c)                                                     \
			__sync_fetch_and_add(&__c->field, 1);                \
	})

/* Since when records of a kind are lost. All objects share the map, and user space maps it into its memory: it is asked before
 * each record is passed on, so that nothing is concluded from records that are missing. An entry for each kind.
 */
struct loss {
	__u64 count; /* records lost so far */
	__u64 acked; /* of them, those that user space knows of; it writes this */
	__u64 first; /* the first that it does not know of: nanoseconds, CLOCK_BOOTTIME */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_KINDS);
	__type(key, __u32); /* enum kind */
	__type(value, struct loss);
} losses SEC(".maps");

static __noinline void mark_loss(__u32 kind)
{
	struct loss *l = bpf_map_lookup_elem(&losses, &kind);

	if (!l)
		return;
	if (l->count == l->acked) /* of two CPUs at once either is the first */
		l->first = bpf_ktime_get_boot_ns();
	__sync_fetch_and_add(&l->count, 1);
}

/* Counts a record that is lost, in a field of struct counters. */
#define LOSE(kind, field)           \
	({                          \
		COUNT(kind, field); \
		mark_loss(kind);    \
	})

/* Counts what a full map loses where no record that was seen is lost with it. */
#define LOSE_UNSEEN(kind)             \
	({                            \
		COUNT(kind, seen);    \
		LOSE(kind, lost_map); \
	})

/* All objects share one ring buffer, so that records stay in order. bpf2go generates the Go type of the record from the
 * map's value type. User space sets the size.
 */
#define DEFINE_RING(record)                         \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_RINGBUF); \
		__uint(max_entries, 4 << 20);       \
		__type(value, record);              \
	} events SEC(".maps")

/* When user space was last woken: nanoseconds, CLOCK_BOOTTIME. All objects share the map. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} woken SEC(".maps");

#define WAKE_EVERY_NS (5 * 1000 * 1000) /* less than unannounced of tracer/ring */

/* Fills the fields of a zeroed header that any program knows. */
static __always_inline void begin(struct hdr *h, __u16 kind, __u32 size)
{
	h->size = size;
	h->kind = kind;
	h->cpu = bpf_get_smp_processor_id();
	h->time = bpf_ktime_get_boot_ns();
}

/* Reserves a record of constant size, zeroes its first bytes and begins its header. Returns NULL if the ring buffer is
 * full, and counts that. The bytes after the zeroed ones must be written, or cut off by a smaller hdr.size. For an event
 * that is counted as seen already.
 */
#define RESERVE_SEEN(record, kind, size, zeroed)                     \
	({                                                           \
		record *__r = bpf_ringbuf_reserve(&events, size, 0); \
		if (__r) {                                           \
			__builtin_memset(__r, 0, zeroed);            \
			begin((struct hdr *)__r, kind, size);        \
		} else {                                             \
			LOSE(kind, lost_ring);                       \
		}                                                    \
		__r;                                                 \
	})

/* The same, and counts the event as seen. A caller that filters an event out counts it as seen itself. */
#define RESERVE_PART(record, kind, size, zeroed)          \
	({                                                \
		COUNT(kind, seen);                        \
		RESERVE_SEEN(record, kind, size, zeroed); \
	})

/* The same, with a copy of head instead of zeroes. */
#define RESERVE_COPY(record, kind, size, head, head_size)       \
	({                                                      \
		record *__r;                                    \
		COUNT(kind, seen);                              \
		__r = bpf_ringbuf_reserve(&events, size, 0);    \
		if (__r) {                                      \
			__builtin_memcpy(__r, head, head_size); \
			begin((struct hdr *)__r, kind, size);   \
		} else {                                        \
			LOSE(kind, lost_ring);                  \
		}                                               \
		__r;                                            \
	})

#define RESERVE(record, kind, size) RESERVE_PART(record, kind, size, sizeof(record))

/* How to submit a record: to wake user space costs 5 us, in a virtual machine 50, on the path of the packet. So it is woken
 * once in WAKE_EVERY_NS, after which it looks by itself for what came meanwhile; or because the ring buffer fills.
 */
static __always_inline __u64 wakeup(void *ring, __u64 now)
{
	__u32 zero = 0;
	__u64 *last = bpf_map_lookup_elem(&woken, &zero);

	if (!last)
		return BPF_RB_FORCE_WAKEUP;
	if ((__s64)(now - *last) < WAKE_EVERY_NS && /* of another CPU it may be later */
	    bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 4)
		return BPF_RB_NO_WAKEUP;
	*last = now;
	return BPF_RB_FORCE_WAKEUP;
}

/* Submits a record. */
#define SUBMIT(e) bpf_ringbuf_submit(e, wakeup(&events, ((struct hdr *)(e))->time))

#endif
