/* What every record that leaves the kernel begins with, the ring it leaves by, and the counts that
 * keep the books: nothing is lost without being counted.
 */
#ifndef KTRACE_EVENT_H
#define KTRACE_EVENT_H

#include "kernel.h"

/* What the record is. Numbers are the recorded format: never reuse one. */
enum kind {
	KIND_FACT = 1, /* JSON that ktrace itself writes into the stream; no program sends it */
	KIND_HOP = 2,
	KIND_DROP = 3,
	KIND_FSYNC = 4,
	KIND_CGROUP = 5,
	KIND_SOCK = 6,
	KIND_PACKET = 7,
	KIND_NETFILTER = 8,
	KIND_HANDSHAKE = 9,
	KIND_SEGMENT = 10,
	KIND_END, /* one more than the last */
};

struct hdr {
	__u32 size; /* of the whole record, bytes */
	__u16 kind; /* enum kind */
	__u16 cpu;
	__u64 time; /* nanoseconds, CLOCK_BOOTTIME */
	__u32 pid;  /* process, 0 where the running task has nothing to do with the event */
	__u32 tid;
	__u64 cgroup;  /* cgroup id of the process or socket, 0 if unknown */
	__u32 netns;   /* inode of the network namespace, 0 if unknown */
	__u32 ifindex; /* device in that namespace, 0 if none */
	__u64 journey; /* one packet's way through this node, 0 if not a packet */
	__u8 comm[16]; /* valid iff pid != 0; not always terminated */
};

/* The books of one kind of record, per CPU. seen = handed over + filtered + lost. */
struct counts {
	__u64 seen;	 /* events that were to be handed over */
	__u64 filtered;	 /* events that the filter in the kernel put aside */
	__u64 lost_ring; /* no room in the ring */
	__u64 lost_map;	 /* no room in a map, or the other half of a pair was missed */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KIND_END);
	__type(key, enum kind);
	__type(value, struct counts);
} counts SEC(".maps");

/* Programs of one CPU can interrupt each other, hence atomic. */
#define COUNT(of_kind, field)                                            \
	({                                                               \
		enum kind __k = of_kind;                                 \
		struct counts *__c = bpf_map_lookup_elem(&counts, &__k); \
		if (__c)                                                 \
			__sync_fetch_and_add(&__c->field, 1);            \
	})

/* All objects of a run share one ring, so records keep the order of the kernel. The value type makes
 * the record's Go twin appear; the size is set when the ring is made.
 */
#define DEFINE_RING(record)                         \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_RINGBUF); \
		__uint(max_entries, 4 << 20);       \
		__type(value, record);              \
	} events SEC(".maps")

/* Fills a zeroed header with what is known anywhere. */
static __always_inline void begin(struct hdr *h, __u16 kind, __u32 size)
{
	h->size = size;
	h->kind = kind;
	h->cpu = bpf_get_smp_processor_id();
	h->time = bpf_ktime_get_boot_ns();
}

/* Space for one record of constant size, its first bytes zeroed, header begun; NULL, and counted, if the ring is
 * full. What is behind the zeroed bytes must be written, or left out by a smaller hdr.size. For an event that was
 * counted as seen already.
 */
#define RESERVE_SEEN(record, kind, size, zeroed)                     \
	({                                                           \
		record *__r = bpf_ringbuf_reserve(&events, size, 0); \
		if (__r) {                                           \
			__builtin_memset(__r, 0, zeroed);            \
			begin((struct hdr *)__r, kind, size);        \
		} else {                                             \
			COUNT(kind, lost_ring);                      \
		}                                                    \
		__r;                                                 \
	})

/* The same, and counts the event as seen. Where no record is wanted, whoever decides that counts it. */
#define RESERVE_PART(record, kind, size, zeroed)          \
	({                                                \
		COUNT(kind, seen);                        \
		RESERVE_SEEN(record, kind, size, zeroed); \
	})

#define RESERVE(record, kind, size) RESERVE_PART(record, kind, size, sizeof(record))

#endif
