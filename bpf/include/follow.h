/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How many packets of one conversation are followed. Between two ends that exchange thousands of packets a second, each looks
 * like the next: some of every second show the way, and the others cost what it takes to know that. Followed beyond that are
 * DNS, ICMP, resets, SYNs that are sent again, and every drop.
 */
#ifndef KTRACE_FOLLOW_H
#define KTRACE_FOLLOW_H

#include "dnsport.h"
#include "skb.h"

const volatile __u32 follow_most = 0; /* new packets of a conversation in a period, each way; 0: all */
const volatile __u32 follow_seed = 0; /* else a pod could count its packets as another's */

#define FOLLOW_PERIOD(ns)    ((__u32)((ns) >> 30)) /* 1.07 s */
#define FOLLOW_CONVERSATIONS 16384
#define FOLLOW_PASSED	     4096

/* A conversation: of UDP a flow; of TCP the connections of a client to a server's port. Another one in its slot takes its
 * place, and it is counted from 0 again.
 */
struct conversation {
	__u32 tag;
	__u32 period;
	__u32 packets[2]; /* towards either end */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FOLLOW_CONVERSATIONS);
	__type(key, __u32);
	__type(value, struct conversation);
} conversations SEC(".maps");

/* A packet that is not followed, so that its next hop, maybe with other addresses, does not begin a journey. */
struct passed {
	__u64 head; /* skb->head */
	__u32 fingerprint;
	__u32 period;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FOLLOW_PASSED);
	__type(key, __u32);
	__type(value, struct passed);
} passed SEC(".maps");

static __always_inline __u32 hash_end(const __u8 addr[16], __u32 port)
{
	const __u32 *words = (const void *)addr;
	__u32 hash = mix(follow_seed, port);
	int i;

	for (i = 0; i < 4; i++)
		hash = mix(hash, words[i]);
	return hash ^ hash >> 15;
}

static __always_inline struct passed *passed_slot(const struct packet *p)
{
	__u32 slot = mix(follow_seed, (__u64)p->head >> 6) >> 20;

	return bpf_map_lookup_elem(&passed, &slot);
}

_Static_assert(FOLLOW_PASSED == 1 << (32 - 20), "a slot for each value of the upper bits");

/* Whether the packet was not followed at its last hop. */
static __always_inline bool is_passed(const struct packet *p, __u64 now)
{
	struct passed *s = passed_slot(p);

	return s && s->head == (__u64)p->head && s->fingerprint == p->fingerprint &&
	       FOLLOW_PERIOD(now) - s->period <= 1;
}

static __always_inline void pass(const struct packet *p, __u64 now)
{
	struct passed *s = passed_slot(p);

	if (!s)
		return;
	s->head = (__u64)p->head;
	s->fingerprint = p->fingerprint;
	s->period = FOLLOW_PERIOD(now);
}

#define SYN 0x02
#define ACK 0x10
#define RST 0x04

/* Whether the number of packets of its kind is limited. */
static __always_inline bool is_limited(const struct packet *p)
{
	if (p->t.proto == IPPROTO_TCP)
		return (p->tcp_flags & (SYN | RST)) == SYN && !is_dns(p->t.sport, p->t.dport);
	return p->t.proto == IPPROTO_UDP && !p->fragment && !p->more && !is_dns(p->t.sport, p->t.dport);
}

/* Counts a packet that begins a journey. False if there were follow_most before it. Not atomic: CPUs that count at once may
 * let a few more pass.
 */
static __always_inline bool count_packet(const struct packet *p, __u64 now)
{
	bool tcp = p->t.proto == IPPROTO_TCP, answer = tcp && p->tcp_flags & ACK;
	/* ports of a client's connections differ */
	__u32 src = hash_end(p->t.src, tcp && !answer ? 0 : p->t.sport);
	__u32 dst = hash_end(p->t.dst, answer ? 0 : p->t.dport);
	__u32 slot = mix(src + dst, p->t.proto) >> 18, tag = src ^ dst ^ p->t.proto;
	struct conversation *c = bpf_map_lookup_elem(&conversations, &slot);
	__u32 *packets;

	if (!c)
		return true;
	if (c->tag != tag || c->period != FOLLOW_PERIOD(now)) {
		c->tag = tag;
		c->period = FOLLOW_PERIOD(now);
		c->packets[0] = c->packets[1] = 0;
	}
	packets = &c->packets[src > dst];
	/* An answer comes after what it answers: with the same limit, those of a period's last questions would use up the next
	 * one's.
	 */
	if (*packets >= (answer ? 4 * follow_most : follow_most))
		return false;
	(*packets)++;
	return true;
}

_Static_assert(FOLLOW_CONVERSATIONS == 1 << (32 - 18), "a slot for each value of the upper bits");

#endif
