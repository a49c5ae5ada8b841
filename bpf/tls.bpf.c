// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* TLS handshakes, as far as they are in plaintext, of this node's sockets. After the handshake only a record of an
 * alert's length is sent. cgroup_skb/egress and ingress, at the root of cgroup2.
 *
 * Each packet passes these hooks once, no matter how many devices it passes. All of its bytes can be read, linear or
 * paged, and the state of the connection is kept in the socket's storage. Of a connection between two sockets of this
 * node only the client's side is recorded: it has the server's name and the address before NAT.
 */
enum kind {
	KIND_HANDSHAKE = 9,
};

#include "event.h"

struct bpf_tcp_sock {
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 rtt_min;
	__u32 snd_ssthresh;
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 unused[13];
	__u64 bytes_received;
	__u64 bytes_acked;
};

enum tls_direction {
	TLS_IN = 1,
	TLS_OUT = 2,
};

struct event {
	struct hdr hdr;
	__u32 len;   /* of the packet, from the network header on */
	__u32 taken; /* bytes of it that follow the record */
	enum tls_direction direction;
	__u32 zero;
};

DEFINE_RING(struct event);

#include "netns.h"
#include "segment.h"

/* bytes of a direction that may be plaintext; a certificate chain has some 5000 */
#define MAX_PLAINTEXT (16 * 1024)
#define RECORD_HEADER 5 /* type, version, length: RFC 8446, 5.1 */
#define ALERT	      (RECORD_HEADER + 2)
#define MAX_RECORDS   16	       /* parsed in a segment */
#define TLS13_ALERT   (ALERT + 1 + 16) /* encrypted, with content type and authentication tag: RFC 8446, 5.2 */

#define TYPE_CIPHER    20 /* change_cipher_spec */
#define TYPE_HANDSHAKE 22
#define CLIENT_HELLO   1

/* One direction of a connection. */
struct tls_stream {
	__u32 next;	/* sequence number at which the next TLS record begins */
	__u32 reported; /* sequence number up to which segments were handled */
	bool started;
	bool encrypted;	 /* by change_cipher_spec: the next record is encrypted */
	bool done;	 /* no plaintext follows */
	bool seen_after; /* a segment came after both directions were done */
};

struct tls_conn {
	struct tls_stream dir[2];
};

/* Storage of the sockets whose connection began with a ClientHello. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_conn);
} tls_conn SEC(".maps");

struct client_random {
	__u8 bytes[16];
};

/* Connections whose client socket is on this node, by the ClientHello's random (RFC 8446, 4.1.2). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct client_random);
	__type(value, __u8);
} client_randoms SEC(".maps");

/* Whether the client's socket on this node has sent this ClientHello. On egress, stores its random. */
static __always_inline bool seen_on_client(const struct segment *s)
{
	struct client_random n;
	__u8 one = 1;

	if (bpf_skb_load_bytes(s->skb, s->data + 11, &n, sizeof(n)))
		return false;
	if (!s->out)
		return bpf_map_lookup_elem(&client_randoms, &n);
	bpf_map_update_elem(&client_randoms, &n, &one, BPF_ANY);
	return false;
}

/* The socket's storage. It is created if a selected connection begins with a ClientHello; else NULL. */
static __always_inline struct tls_conn *tls_conn_of(const struct segment *s)
{
	struct tls_conn *f = bpf_sk_storage_get(&tls_conn, s->sk, 0, 0);
	__u8 head[RECORD_HEADER + 1];

	if (f || s->offset > 1) /* bytes_acked includes the SYN on the client's side */
		return f;
	if (bpf_skb_load_bytes(s->skb, s->data, head, sizeof(head)))
		return 0;
	if (head[0] != TYPE_HANDSHAKE || head[1] != 3 || head[2] > 4 || head[5] != CLIENT_HELLO)
		return 0;
	if (!selected(s))
		return 0;
	f = bpf_sk_storage_get(&tls_conn, s->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!f)
		LOSE_UNSEEN(KIND_HANDSHAKE);
	else if (seen_on_client(s))
		f->dir[0].done = f->dir[1].done = true;
	return f;
}

/* The number of plaintext bytes of a segment, including the header of the first encrypted record, or a whole alert. */
static __always_inline __u32 plaintext_bytes(const struct segment *s, struct tls_stream *f)
{
	__u8 head[RECORD_HEADER];
	__u32 at, i;

	for (i = 0; i < MAX_RECORDS; i++) {
		at = f->next - s->seq;
		if ((__s32)at >= (__s32)s->payload)
			return s->payload;
		if ((__s32)at < 0 || at > 0xffff)
			break; /* a segment is missing, or a header was split: the record's beginning is unknown */
		if (at + RECORD_HEADER > s->payload)
			return s->payload;
		if (bpf_skb_load_bytes(s->skb, s->data + at, head, sizeof(head)))
			break;
		if (head[0] == TYPE_CIPHER && !f->encrypted) {
			f->encrypted = true;
		} else if (head[0] != TYPE_HANDSHAKE || head[1] != 3 || f->encrypted) {
			f->done = true;
			at += ALERT;
			return at < s->payload ? at : s->payload;
		}
		f->next += RECORD_HEADER + (head[3] << 8 | head[4]);
	}
	f->done = true;
	return s->payload;
}

#define ROOM(room) ROOM_FOR(room, KIND_HANDSHAKE)
#define ROOMS(of)  of(512) of(2048) of(6144) of(MAX_PLAINTEXT + 128)

static __always_inline void fill(struct event *e, const struct segment *s)
{
	e->direction = s->out ? TLS_OUT : TLS_IN;
}

/* Sends n bytes of a packet. Not static, so that it is verified once, not with each end of plaintext_bytes. */
__noinline int send(struct __sk_buff *skb, __u32 n, __u32 out)
{
	const struct segment segment = {.skb = skb, .out = out}, *s = &segment;
	struct event head = {}, *e;
	long len;

	fill_segment(&head, s);
	if (n > MAX_PLAINTEXT + 128)
		n = MAX_PLAINTEXT + 128;
	announce_segment(s);
	ROOMS(ROOM)
	return 0;
}

/* The first segment after the handshake, sent if it has the length of an alert and the socket is not closed. */
static __always_inline void handle_encrypted(const struct segment *s, struct tls_stream *f)
{
	if (!f->seen_after && s->payload == TLS13_ALERT && s->sk->state == TCP_ESTABLISHED)
		send(s->skb, s->data + RECORD_HEADER, s->out);
	f->seen_after = true;
}

static __always_inline void handle_segment(struct segment *s)
{
	struct tls_conn *all;
	struct tls_stream *f;
	__u32 n;

	all = tls_conn_of(s);
	if (!all)
		return;
	f = &all->dir[s->out == 1];
	if (!f->started) {
		f->started = true;
		f->next = f->reported = s->seq;
	}
	if ((__s32)(s->seq + s->payload - f->reported) <= 0) /* retransmitted */
		return;
	f->reported = s->seq + s->payload;
	if (f->done) {
		if (all->dir[s->out != 1].done)
			handle_encrypted(s, f);
		return;
	}
	n = plaintext_bytes(s, f);
	send(s->skb, s->data + n, s->out);
}

static __always_inline int handle(struct __sk_buff *skb, bool out)
{
	struct segment s = {.skb = skb, .sk = skb->sk, .out = out};
	struct bpf_tcp_sock *tp;
	__u64 before;

	if (!s.sk)
		return SK_PASS;
	s.sk = bpf_sk_fullsock(s.sk);
	if (!s.sk)
		return SK_PASS;
	tp = bpf_tcp_sock(s.sk);
	if (!tp)
		return SK_PASS;
	before = out ? tp->bytes_acked : tp->bytes_received;
	if (before > MAX_PLAINTEXT || !parse_segment(&s) || !s.payload)
		return SK_PASS;
	s.offset = before + (s.seq - (out ? tp->snd_una : tp->rcv_nxt));
	if (s.offset <= MAX_PLAINTEXT)
		handle_segment(&s);
	return SK_PASS;
}

SEC("cgroup_skb/egress")
int tls_out(struct __sk_buff *skb)
{
	return handle(skb, true);
}

SEC("cgroup_skb/ingress")
int tls_in(struct __sk_buff *skb)
{
	return handle(skb, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
