/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What TCP itself counts of a connection. Functions only. */
#ifndef KTRACE_CONN_H
#define KTRACE_CONN_H

#include "sock.h"

const volatile __u64 tick_ns = 0; /* nanoseconds per jiffy */

/* Counters of a full TCP socket. Those that the kernel lacks are 0. */
struct conn {
	__u64 bytes_sent; /* payload, what was sent again included */
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 bytes_retrans; /* payload that was sent again */
	__u64 idle;	     /* nanoseconds since anything came from the peer, 0 if nothing did */
	__u64 quiet;	     /* since data was sent last, 0 if none was */
	__u64 received;	     /* since data came last, 0 if none did */
	__u64 rwnd_limited;  /* nanoseconds that only the peer's window kept data back */
	__u64 rto;	     /* nanoseconds */
	__u32 segs_out;	     /* with data, those that were sent again included */
	__u32 segs_in;	     /* with data */
	__u32 retrans;	     /* segments that were sent again */
	__u32 spurious;	     /* of them, those that the peer had already (DSACK) */
	__u32 out_of_order;  /* segments received */
	__u32 delivered;
	__u32 unacked; /* bytes that were sent */
	__u32 unsent;  /* bytes that wait to be sent */
	__u32 unread;  /* bytes that the process has not read */
	__u32 snd_wnd; /* what the peer's window takes, bytes */
	__u32 rcv_wnd; /* what is left of the own window, bytes */
	__u32 srtt;    /* microseconds */
	__u32 cwnd;    /* segments */
	__u32 mss;
	__u32 pmtu;
	__u8 timeouts; /* since the last ACK of new data */
	__u8 backoff;  /* doublings of the timer of timeouts or window probes */
	__u8 in_flight;
	__u8 state; /* enum in include/net/tcp_states.h: ABI */
	__u8 congestion[16];
};

/* Nanoseconds since a time in jiffies of 32 bits, at least 1; 0 if there was none. */
static __always_inline __u64 since(__u32 jiffies)
{
	__u64 ns = (__u64)((__u32)bpf_jiffies64() - jiffies) * tick_ns;

	return !jiffies ? 0 : ns ?: 1;
}

#define OPTIONAL(p, field) (bpf_core_field_exists((p)->field) ? BPF_CORE_READ(p, field) : 0)

#define CHRONO_RWND_LIMITED 2 /* enum tcp_chrono */

static __always_inline __u64 rwnd_limited(struct tcp_sock *tp)
{
	__u32 stat[3] = {};

	bpf_core_read(stat, sizeof(stat), &tp->chrono_stat);
	if (BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type) == CHRONO_RWND_LIMITED)
		stat[CHRONO_RWND_LIMITED - 1] += (__u32)bpf_jiffies64() - BPF_CORE_READ(tp, chrono_start);
	return stat[CHRONO_RWND_LIMITED - 1] * tick_ns;
}

static __always_inline void fill_counters(struct conn *c, struct tcp_sock *tp)
{
	__u32 fin = HAS_FLAG((struct sock *)tp, SOCK_DONE); /* a FIN received takes one sequence number */

	c->bytes_sent = BPF_CORE_READ(tp, bytes_sent);
	c->bytes_acked = BPF_CORE_READ(tp, bytes_acked);
	c->bytes_received = BPF_CORE_READ(tp, bytes_received);
	c->bytes_retrans = BPF_CORE_READ(tp, bytes_retrans);
	c->segs_out = BPF_CORE_READ(tp, data_segs_out);
	c->segs_in = BPF_CORE_READ(tp, data_segs_in);
	c->retrans = BPF_CORE_READ(tp, total_retrans);
	c->spurious = OPTIONAL(tp, dsack_dups);
	c->out_of_order = OPTIONAL(tp, rcv_ooopack);
	c->delivered = BPF_CORE_READ(tp, delivered);
	c->unread = BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq);
	if (c->unread)
		c->unread -= fin;
}

static __always_inline void fill_windows(struct conn *c, struct tcp_sock *tp)
{
	__u32 next = BPF_CORE_READ(tp, snd_nxt);

	c->unacked = next - BPF_CORE_READ(tp, snd_una);
	c->unsent = BPF_CORE_READ(tp, write_seq) - next;
	c->snd_wnd = BPF_CORE_READ(tp, snd_wnd);
	c->rcv_wnd = BPF_CORE_READ(tp, rcv_wup) + BPF_CORE_READ(tp, rcv_wnd) - BPF_CORE_READ(tp, rcv_nxt);
	c->srtt = BPF_CORE_READ(tp, srtt_us) >> 3;
	c->cwnd = BPF_CORE_READ(tp, snd_cwnd);
	c->mss = BPF_CORE_READ(tp, mss_cache);
	c->in_flight = BPF_CORE_READ(tp, packets_out) > 255 ? 255 : BPF_CORE_READ(tp, packets_out);
	c->rwnd_limited = rwnd_limited(tp);
}

static __always_inline void fill_conn(struct conn *c, struct sock *sk, __u8 state)
{
	struct inet_connection_sock *icsk = (void *)sk;
	struct tcp_sock *tp = (void *)sk;

	fill_counters(c, tp);
	fill_windows(c, tp);
	c->idle = since(BPF_CORE_READ(tp, rcv_tstamp));
	if (c->bytes_sent)
		c->quiet = since(BPF_CORE_READ(tp, lsndtime));
	if (c->bytes_received)
		c->received = since(BPF_CORE_READ(icsk, icsk_ack.lrcvtime));
	c->rto = BPF_CORE_READ(icsk, icsk_rto) * tick_ns;
	c->pmtu = BPF_CORE_READ(icsk, icsk_pmtu_cookie);
	c->timeouts = BPF_CORE_READ(icsk, icsk_retransmits);
	c->backoff = BPF_CORE_READ(icsk, icsk_backoff);
	c->state = state;
	bpf_probe_read_kernel(c->congestion, sizeof(c->congestion),
			      BPF_CORE_READ(icsk, icsk_ca_ops)
				      ? (void *)BPF_CORE_READ(icsk, icsk_ca_ops) +
						bpf_core_field_offset(struct tcp_congestion_ops, name)
				      : NULL);
}

#endif
