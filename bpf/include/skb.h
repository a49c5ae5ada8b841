/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets: headers, flows, conntrack entries. Types and functions only. */
#ifndef KTRACE_SKB_H
#define KTRACE_SKB_H

#include "compat.h"

/* One direction of a flow. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; ports in host order, 0 if the protocol
 * has none. Aligned, so that it is copied by words.
 */
struct tuple {
	__u8 src[16];
	__u8 dst[16];
	__u16 sport;
	__u16 dport;
	__u8 proto;
	__u8 family; /* 4, 6 */
	__u16 zero;
} __attribute__((aligned(4)));

/* The headers of a packet at a hook. Offsets count from the network header. */
struct packet {
	struct tuple t;
	const unsigned char *head; /* skb->head, the same from device to device */
	const unsigned char *l3;   /* the network header */
	__u32 len;		   /* from the network header on */
	__u32 linear;		   /* of these, the bytes in the linear part */
	__u32 id;		   /* IPv4 identification, 0 in most IPv6 */
	__u16 fragment;		   /* offset, bytes */
	__u16 l4;
	__u16 data; /* the payload; of an ICMP error: the packet that it quotes */
	bool more;  /* IPv4 MF, IPv6 M: more fragments */
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u32 fingerprint; /* distinguishes packets that reuse one buffer; unchanged by NAT */
};

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 proto;
	__sum16 sum;
	__u8 src[4];
	__u8 dst[4];
};

struct ipv6_header {
	__u8 version_class;
	__u8 class_label[3];
	__be16 payload;
	__u8 next;
	__u8 hops;
	__u8 src[16];
	__u8 dst[16];
};

struct ports_header {
	__be16 source;
	__be16 dest;
	union {
		__be32 seq; /* TCP; SCTP: the association's tag */
		struct {
			__be16 len; /* UDP */
			__sum16 sum;
		};
	};
	__u32 data
		[2]; /* UDP: what it carries; TCP: acknowledgement, offset and flags; SCTP: checksum, chunk */
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 sum;
	__be32 rest;
};

#define IPV4_MORE   0x2000
#define IPV4_OFFSET 0x1fff
#define EXT_HEADERS 8 /* IPv6 extension headers that are skipped; maxExtensions of decoder/packet */
#define IPV4_MIN    20
#define TCP_MIN	    20
#define SCTP_SIZE   12

static __always_inline void map_ipv4(__u8 to[16], const void *from)
{
	*(__u32 *)to = 0;
	*(__u32 *)(to + 4) = 0;
	*(__u32 *)(to + 8) = bpf_htonl(0xffff);
	*(__u32 *)(to + 12) = *(__u32 *)from;
}

/* Whether an address is IPv4-mapped: ::ffff:a.b.c.d. */
static __always_inline bool is_mapped(const __u8 a[16])
{
	return !*(__u32 *)a && !*(__u32 *)(a + 4) && *(__u32 *)(a + 8) == bpf_htonl(0xffff);
}

static __always_inline bool is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS;
}

/* Skips IPv6 extension headers. Sets protocol, l4, identification and fragment offset. */
static __always_inline bool skip_extensions(struct packet *p, __u8 next)
{
	__u8 ext[8];
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < EXT_HEADERS && is_extension(next); i++) { /* rolled: see want.h */
		if (bpf_probe_read_kernel(ext, sizeof(ext), p->l3 + p->l4))
			return false;
		if (next == IPPROTO_FRAGMENT) {
			p->fragment = bpf_ntohs(*(__u16 *)(ext + 2)) & ~7;
			p->more = ext[3] & 1;
			p->id = bpf_ntohl(*(__u32 *)(ext + 4));
			p->l4 += 8;
		} else {
			p->l4 += (ext[1] + 1) * 8;
		}
		next = ext[0];
		if (p->fragment)
			break; /* a later fragment has no transport header */
	}
	p->t.proto = next;
	return !is_extension(next);
}

/* Trims the packet to the length in its network header, if that is plausible: Ethernet pads short frames, and GSO leaves
 * 0 in the header.
 */
static __always_inline void trim_length(struct packet *p, __u32 length, __u32 least)
{
	if (length < least || length >= p->len)
		return;
	p->len = length;
	if (p->linear > length)
		p->linear = length;
}

/* Reads the network header at p->l3. */
static __always_inline bool parse_l3(struct packet *p)
{
	union {
		struct ipv4_header v4;
		struct ipv6_header v6;
	} h;

	if (bpf_probe_read_kernel(&h, sizeof(h), p->l3))
		return false;
	if (h.v4.version_ihl >> 4 == 4 && p->linear >= sizeof(h.v4)) {
		if ((h.v4.version_ihl & 15) * 4 < IPV4_MIN)
			return false;
		p->t.family = 4;
		p->t.proto = h.v4.proto;
		p->l4 = (h.v4.version_ihl & 15) * 4;
		p->ttl = h.v4.ttl;
		p->id = bpf_ntohs(h.v4.id);
		p->fragment = (bpf_ntohs(h.v4.fragment) & IPV4_OFFSET) * 8;
		p->more = bpf_ntohs(h.v4.fragment) & IPV4_MORE;
		map_ipv4(p->t.src, h.v4.src);
		map_ipv4(p->t.dst, h.v4.dst);
		trim_length(p, bpf_ntohs(h.v4.total), p->l4);
		return true;
	}
	if (h.v6.version_class >> 4 == 6 && p->linear >= sizeof(h.v6)) {
		p->t.family = 6;
		p->t.proto = h.v6.next;
		p->l4 = sizeof(h.v6);
		p->ttl = h.v6.hops;
		__builtin_memcpy(p->t.src, h.v6.src, 16);
		__builtin_memcpy(p->t.dst, h.v6.dst, 16);
		trim_length(p, bpf_ntohs(h.v6.payload) + sizeof(h.v6), sizeof(h.v6) + 1);
		return !is_extension(h.v6.next) || skip_extensions(p, h.v6.next);
	}
	return false;
}

static __always_inline __u32 mix(__u32 hash, __u32 v)
{
	return (hash ^ v) * 0x9e3779b1; /* 2^32 / golden ratio: multiplicative hashing */
}

/* Whether the packet is an ICMP error, which quotes the beginning of the packet that caused it. */
static __always_inline bool is_icmp_error(const struct packet *p)
{
	if (p->t.proto ==
	    IPPROTO_ICMP) /* unreachable, source quench, redirect, time exceeded, parameter problem */
		return p->icmp_type == 3 || p->icmp_type == 4 || p->icmp_type == 5 || p->icmp_type == 11 ||
		       p->icmp_type == 12;
	return p->t.proto == IPPROTO_ICMPV6 && p->icmp_type >= 1 && p->icmp_type <= 4;
}

/* ICMP errors of one size differ only in the quoted packet. Its first 8 bytes have the length and identification of IPv4,
 * and the flow label of IPv6; NAT changes none of them.
 */
static __always_inline void fingerprint_quoted(struct packet *p)
{
	__u32 head[2];

	if (p->linear < p->data + sizeof(head) || bpf_probe_read_kernel(head, sizeof(head), p->l3 + p->data))
		return;
	p->fingerprint = mix(mix(p->fingerprint, head[0]), head[1]);
}

/* Multicast listener discovery (RFC 2710) and neighbour discovery (RFC 4861): the messages of two hosts differ only in
 * their addresses, which NAT does not translate. Without the addresses, another pod's message in a reused buffer would
 * continue the first one's journey.
 */
static __always_inline void fingerprint_nd(struct packet *p)
{
	const __u32 *from = (const void *)p->t.src;
	__u32 target[4];
	int i;

	if (p->t.proto != IPPROTO_ICMPV6 || p->icmp_type < 130 || p->icmp_type > 143)
		return;
	for (i = 0; i < 4; i++)
		p->fingerprint = mix(p->fingerprint, from[i]);
	if (p->linear < p->data + sizeof(target) ||
	    bpf_probe_read_kernel(target, sizeof(target), p->l3 + p->data))
		return;
	for (i = 0; i < 4; i++)
		p->fingerprint = mix(p->fingerprint, target[i]);
}

/* Reads the transport header. A later fragment has none, and a packet may end within it: then its ports stay 0. */
static __always_inline bool parse_l4(struct packet *p)
{
	union {
		struct ports_header ports;
		struct icmp_header icmp;
	} h = {};
	__u8 proto = p->t.proto;
	__u32 size;

	p->data = p->l4;
	p->fingerprint = mix(mix(proto, p->id), p->fragment);
	if (p->fragment || p->len < p->l4 + 8)
		return true;
	if (p->linear < p->l4 + 8 || bpf_probe_read_kernel(&h, sizeof(h), p->l3 + p->l4))
		return false;
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		p->icmp_type = h.icmp.type;
		p->icmp_code = h.icmp.code;
		p->data += sizeof(h.icmp);
		/* identifier and sequence number: pings of one size differ in nothing else */
		p->fingerprint =
			mix(mix(mix(p->fingerprint, h.icmp.type << 8 | h.icmp.code), p->len), h.icmp.rest);
		if (is_icmp_error(p))
			fingerprint_quoted(p);
		fingerprint_nd(p);
		return true;
	}
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP && proto != IPPROTO_SCTP)
		return true;
	p->t.sport = bpf_ntohs(h.ports.source);
	p->t.dport = bpf_ntohs(h.ports.dest);
	if (proto == IPPROTO_UDP) {
		p->data += 8;
		p->fingerprint = mix(p->fingerprint, h.ports.len);
		if (p->linear >= p->data + 8) /* else bytes after the packet would be mixed in */
			p->fingerprint = mix(mix(p->fingerprint, h.ports.data[0]), h.ports.data[1]);
	} else if (proto == IPPROTO_TCP) {
		p->fingerprint = mix(p->fingerprint, h.ports.seq);
		if (p->linear < p->l4 + TCP_MIN)
			return true; /* truncated, as in an ICMP error's quote */
		size = (bpf_ntohl(h.ports.data[1]) >> 28) * 4;
		p->data += size < TCP_MIN ? TCP_MIN : size;
		p->tcp_flags = bpf_ntohl(h.ports.data[1]) >> 16;
		/* resets in answer to SYNs have neither a sequence number nor an identification */
		p->fingerprint = mix(mix(p->fingerprint, p->tcp_flags), h.ports.data[0]);
	} else {
		p->fingerprint = mix(p->fingerprint, h.ports.seq);
		if (p->linear < p->l4 + SCTP_SIZE)
			return true;
		p->data += SCTP_SIZE;
		if (p->linear >= p->data + 4) /* the first chunk's type, flags and length */
			p->fingerprint = mix(p->fingerprint, h.ports.data[1]);
	}
	return true;
}

/* Reads network and transport headers at p->l3. noinline: once in the object, whichever packet it reads. */
static __noinline bool parse_headers(struct packet *p)
{
	return parse_l3(p) && parse_l4(p);
}

/* Reads the headers of a packet whose network header is set, as it is from ip_rcv on. */
static __always_inline bool parse_skb(struct packet *p, struct sk_buff *skb)
{
	p->l3 = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	p->linear = BPF_CORE_READ(skb, data) + BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len) - p->l3;
	p->len = p->linear + BPF_CORE_READ(skb, data_len);
	return parse_headers(p);
}

/* Makes both directions of a flow the same key. Both tuples are aligned to 8 bytes. */
static __always_inline void normalise(struct tuple *key, const struct tuple *t)
{
	const struct tuple *from = __builtin_assume_aligned(t, 8);
	struct tuple *to = __builtin_assume_aligned(key, 8);
	const __u64 *src = (const void *)from->src, *dst = (const void *)from->dst;
	bool swap = src[0] != dst[0]   ? src[0] > dst[0]
		    : src[1] != dst[1] ? src[1] > dst[1]
				       : from->sport > from->dport;

	*to = *from;
	if (!swap)
		return;
	__builtin_memcpy(to->src, from->dst, 16);
	__builtin_memcpy(to->dst, from->src, 16);
	to->sport = from->dport;
	to->dport = from->sport;
}

/* A hash of one direction of a flow. */
static __always_inline __u32 flow_hash(const struct tuple *t)
{
	const __u32 *words = (const void *)t; /* the addresses, then the ports */
	__u32 hash = t->proto;
	int i;

	for (i = 0; i < 8; i++)
		hash = mix(hash, words[i]);
	/* In conntrack's tuples of ICMP the ports are identifier, type and code. */
	return t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6 ? hash : mix(hash, words[8]);
}

#define IPS_NAT 0x30 /* IPS_SRC_NAT | IPS_DST_NAT: ABI, linux/netfilter/nf_conntrack_common.h */

/* The conntrack entry of skb->_nfct, NULL if there is none or the kernel lacks conntrack. */
static __always_inline struct nf_conn *skb_conntrack(unsigned long nfct)
{
	if (!bpf_core_type_exists(struct nf_conn))
		return 0;
	return (void *)(nfct & ~7UL); /* the lowest 3 bits are enum ip_conntrack_info */
}

/* The tuples of a conntrack entry. The index must be a literal: only then does CO-RE relocate it by this kernel's size
 * of an element.
 */
#define ORIGINAL(ct) __builtin_preserve_access_index(&(ct)->tuplehash[0].tuple)
#define REPLY(ct)    __builtin_preserve_access_index(&(ct)->tuplehash[1].tuple)

static __always_inline void read_tuple(struct tuple *t, struct nf_conntrack_tuple *from)
{
	union nf_inet_addr src, dst;
	__u16 l3 = BPF_CORE_READ(from, src.l3num);

	BPF_CORE_READ_INTO(&src, from, src.u3);
	BPF_CORE_READ_INTO(&dst, from, dst.u3);
	t->family = l3 == 2 ? 4 : 6; /* AF_INET */
	if (t->family == 4) {
		map_ipv4(t->src, &src);
		map_ipv4(t->dst, &dst);
	} else {
		__builtin_memcpy(t->src, &src, 16);
		__builtin_memcpy(t->dst, &dst, 16);
	}
	t->proto = BPF_CORE_READ(from, dst.protonum);
	t->sport = bpf_ntohs(BPF_CORE_READ(from, src.u.all));
	t->dport = bpf_ntohs(BPF_CORE_READ(from, dst.u.all));
	t->zero = 0;
}

#endif
