/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The types and fields of the network stack that ktrace reads: see kernel.h. */
#ifndef KTRACE_NET_H
#define KTRACE_NET_H

#include "kernel.h"

#define ETH_P_IP     0x0800
#define ETH_P_IPV6   0x86dd
#define ETH_P_8021Q  0x8100
#define ETH_P_8021AD 0x88a8

#define IPPROTO_HOPOPTS	 0
#define IPPROTO_ICMP	 1
#define IPPROTO_IPIP	 4
#define IPPROTO_TCP	 6
#define IPPROTO_UDP	 17
#define IPPROTO_IPV6	 41
#define IPPROTO_ROUTING	 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_GRE	 47
#define IPPROTO_ICMPV6	 58
#define IPPROTO_DSTOPTS	 60
#define IPPROTO_SCTP	 132

#define AF_INET	  2
#define AF_INET6  10
#define AF_PACKET 17
#define AF_XDP	  44

#define SOCK_RAW 3

#define NFPROTO_IPV4 2
#define NFPROTO_IPV6 10

#define TCP_ESTABLISHED	 1
#define TCP_SYN_SENT	 2
#define TCP_SYN_RECV	 3
#define TCP_FIN_WAIT1	 4
#define TCP_TIME_WAIT	 6
#define TCP_CLOSE	 7
#define TCP_CLOSE_WAIT	 8
#define TCP_LAST_ACK	 9
#define TCP_LISTEN	 10
#define TCP_NEW_SYN_RECV 12

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
};

struct in6_addr {
	union {
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

typedef struct {
	int counter;
} atomic_t;

struct socket {
	struct sock *sk;
};

struct inode {
	unsigned long i_ino;
	__u16 i_mode;
};

struct file {
	struct inode *f_inode;
	void *private_data; /* of a socket's file: struct socket */
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct sock {
	struct sock_common __sk_common;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	int sk_err;
	int sk_err_soft;
	__u8 sk_kern_sock : 1;
	__u16 sk_type;
	__u16 sk_protocol;
	struct socket *sk_socket;
	unsigned long sk_lingertime;
	__u32 sk_ack_backlog; /* of a listener: connections in the accept queue */
	__u32 sk_max_ack_backlog;
	struct sock_cgroup_data sk_cgrp_data;
	struct dst_entry *sk_dst_cache; /* the route that its packets take */
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct inet_connection_sock_af_ops {
	__u16 net_header_len; /* IPv4's also for an IPv6 socket with IPv4-mapped addresses */
};

struct tcp_congestion_ops {
	char name[16];
};

struct inet_connection_sock {
	struct inet_connection_sock_af_ops *icsk_af_ops;
	struct tcp_congestion_ops *icsk_ca_ops;
	__u32 icsk_pmtu_cookie;
	__u32 icsk_rto;	       /* jiffies */
	__u8 icsk_retransmits; /* retransmission timeouts since the last ACK of new data */
	__u8 icsk_backoff;     /* doublings of the timer of retransmissions or window probes */
	struct {
		__u32 lrcvtime; /* jiffies */
	} icsk_ack;
};

struct tcp_sack_block {
	__u32 start_seq;
	__u32 end_seq;
};

struct tcp_sock {
	__u16 tcp_header_len; /* with the options of every segment */
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 rcv_tstamp;
	__u32 rcv_wup;
	__u32 rcv_wnd;
	__u32 lsndtime;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 snd_wnd;
	__u32 snd_cwnd;
	__u32 write_seq;
	__u32 packets_out;
	__u32 mss_cache;
	__u32 srtt_us; /* times 8 */
	__u32 data_segs_out;
	__u32 data_segs_in;
	__u32 delivered;
	__u32 rcv_ooopack; /* 5.4 */
	__u32 dsack_dups;  /* 4.20 */
	__u32 chrono_start;
	__u32 chrono_stat[3];
	__u8 chrono_type : 2;
	__u32 sacked_out;    /* segments */
	__u32 total_retrans; /* segments that were sent again, SYNs among them */
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u64 bytes_retrans;
	struct tcp_sack_block recv_sack_cache[4];
};

struct flowi_common {
	int flowic_iif;
	__u8 flowic_proto;
};

struct flowi4 {
	struct flowi_common __fl_common;
	__be32 saddr;
	__be32 daddr;
	union {
		struct {
			__be16 dport;
			__be16 sport;
		} ports;
	} uli;
};

struct flowi6 {
	struct flowi_common __fl_common;
	struct in6_addr daddr;
	struct in6_addr saddr;
	union {
		struct {
			__be16 dport;
			__be16 sport;
		} ports;
	} uli;
};

struct fib6_info {
	__u32 fib6_flags;
};

struct fib6_result {
	struct fib6_info *f6i;
};

struct fib6_table {
	__u32 tb6_id;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _nfct;
	unsigned int len;
	unsigned int data_len;
	__be16 protocol;
	__u16 network_header;
	__u16 inner_network_header;
	__u8 encapsulation : 1;
	unsigned char *head;
	unsigned char *data;
};

union nf_inet_addr {
	__u32 all[4];
};

union nf_conntrack_man_proto {
	__be16 all;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
		__u8 protonum;
		__u8 dir;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	possible_net_t ct_net;
};

struct va_format {
	const char *fmt;
};

struct nf_hook_state {
	__u8 hook; /* of 32 bits in 5.10, the lowest first */
	__u8 pf;
	struct net_device *in;
	struct net_device *out;
	struct net *net;
};

#pragma clang attribute pop

#endif
