//go:build ignore

/* How TLS connections begin, as long as that is in the clear: what sockets of this node send and receive of it, and
 * of what follows only that it may be an alert. cgroup_skb/egress and ingress, at the root of cgroup2.
 *
 * There each packet passes once, however many devices it passes; all of it can be read, whether it lies in one piece or
 * in pages; and the socket keeps how far its connection is. Of a connection between two sockets of this node only the
 * client's tells: it knows the server by the name, and the address before translation, that it asked for.
 */
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

#include "segment.h"

#define CLEAR \
	(16 * 1024) /* bytes of a direction that may be in the clear; a chain of certificates has some 5000 */
#define RECORD_HEADER 5 /* type, version, length: RFC 8446, 5.1 */
#define ALERT	      (RECORD_HEADER + 2)
#define RECORDS	      16	       /* looked at in a segment */
#define HIDDEN_ALERT  (ALERT + 1 + 16) /* of TLS 1.3, with its type and its sum: RFC 8446, 5.2 */

#define TYPE_CIPHER    20 /* it changes */
#define TYPE_HANDSHAKE 22
#define CLIENT_HELLO   1

/* One direction of a connection. */
struct flight {
	__u32 next; /* sequence number that the next record begins with */
	__u32 told; /* up to here */
	bool begun;
	bool ciphered; /* the next record is encrypted */
	bool over;
	bool after; /* a segment came since both directions are over */
};

struct flights {
	struct flight way[2];
};

/* Of sockets whose connection began as TLS does; others have none. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct flights);
} flights SEC(".maps");

struct nonce {
	__u8 bytes[16];
};

/* Connections whose clients are sockets of this node, by the number that each draws (RFC 8446, 4.1.2). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct nonce);
	__type(value, __u8);
} greeted SEC(".maps");

/* Whether the client's socket tells of the connection already; if this is it, it will. */
static __always_inline bool told_by_client(const struct sight *s)
{
	struct nonce n;
	__u8 one = 1;

	if (bpf_skb_load_bytes(s->skb, s->data + 11, &n, sizeof(n)))
		return false;
	if (!s->out)
		return bpf_map_lookup_elem(&greeted, &n);
	bpf_map_update_elem(&greeted, &n, &one, BPF_ANY);
	return false;
}

/* What the socket keeps, made if the connection begins here as TLS does and is selected; else NULL. */
static __always_inline struct flights *flights_of(const struct sight *s)
{
	struct flights *f = bpf_sk_storage_get(&flights, s->sk, 0, 0);
	__u8 head[RECORD_HEADER + 1];

	if (f || s->offset > 1) /* what is acknowledged includes the SYN of some */
		return f;
	if (bpf_skb_load_bytes(s->skb, s->data, head, sizeof(head)))
		return 0;
	if (head[0] != TYPE_HANDSHAKE || head[1] != 3 || head[2] > 4 || head[5] != CLIENT_HELLO)
		return 0;
	if (!selected(s))
		return 0;
	f = bpf_sk_storage_get(&flights, s->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!f)
		COUNT(KIND_HANDSHAKE, lost_map);
	else if (told_by_client(s))
		f->way[0].over = f->way[1].over = true;
	return f;
}

/* How many bytes of a segment are in the clear, with the header of the record that is not, or all of an alert. */
static __always_inline __u32 clear_bytes(const struct sight *s, struct flight *f)
{
	__u8 head[RECORD_HEADER];
	__u32 at, i;

	for (i = 0; i < RECORDS; i++) {
		at = f->next - s->seq;
		if ((__s32)at >= (__s32)s->payload)
			return s->payload;
		if ((__s32)at < 0 || at > 0xffff)
			break; /* something is missing, or a header was cut in two: the beginning is not known */
		if (at + RECORD_HEADER > s->payload)
			return s->payload;
		if (bpf_skb_load_bytes(s->skb, s->data + at, head, sizeof(head)))
			break;
		if (head[0] == TYPE_CIPHER && !f->ciphered) {
			f->ciphered = true;
		} else if (head[0] != TYPE_HANDSHAKE || head[1] != 3 || f->ciphered) {
			f->over = true;
			at += ALERT;
			return at < s->payload ? at : s->payload;
		}
		f->next += RECORD_HEADER + (head[3] << 8 | head[4]);
	}
	f->over = true;
	return s->payload;
}

#define ROOM(room) ROOM_FOR(room, KIND_HANDSHAKE)
#define ROOMS(of)  of(512) of(2048) of(6144) of(CLEAR + 128)

static __always_inline void fill(struct event *e, const struct sight *s)
{
	e->direction = s->out ? TLS_OUT : TLS_IN;
}

static __always_inline void send(const struct sight *s, __u32 n)
{
	struct event *e;
	long len;

	if (n > CLEAR + 128)
		n = CLEAR + 128;
	ROOMS(ROOM)
}

/* The first that is said when all is encrypted, if it has the length of an alert and this end has not closed. */
static __always_inline void look_after(const struct sight *s, struct flight *f)
{
	if (!f->after && s->payload == HIDDEN_ALERT && s->sk->state == TCP_ESTABLISHED)
		send(s, s->data + RECORD_HEADER);
	f->after = true;
}

static __always_inline void look(struct sight *s)
{
	struct flights *all;
	struct flight *f;
	__u32 n;

	all = flights_of(s);
	if (!all)
		return;
	f = &all->way[s->out == 1];
	if (!f->begun) {
		f->begun = true;
		f->next = f->told = s->seq;
	}
	if ((__s32)(s->seq + s->payload - f->told) <= 0) /* sent again */
		return;
	f->told = s->seq + s->payload;
	if (f->over) {
		if (all->way[s->out != 1].over)
			look_after(s, f);
		return;
	}
	n = clear_bytes(s, f);
	send(s, s->data + n);
}

static __always_inline int handle(struct __sk_buff *skb, bool out)
{
	struct sight s = {.skb = skb, .sk = skb->sk, .out = out};
	struct bpf_tcp_sock *tp;
	__u64 before;

	if (!s.sk)
		return GOES_ON;
	s.sk = bpf_sk_fullsock(s.sk);
	if (!s.sk)
		return GOES_ON;
	tp = bpf_tcp_sock(s.sk);
	if (!tp)
		return GOES_ON;
	before = out ? tp->bytes_acked : tp->bytes_received;
	if (before > CLEAR || !parse(&s) || !s.payload)
		return GOES_ON;
	s.offset = before + (s.seq - (out ? tp->snd_una : tp->rcv_nxt));
	if (s.offset <= CLEAR)
		look(&s);
	return GOES_ON;
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
