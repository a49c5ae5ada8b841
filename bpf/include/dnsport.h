/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* DNS ports: those that the verb gives, and the ports of backends that a service's port is DNATed to. */
#ifndef KTRACE_DNSPORT_H
#define KTRACE_DNSPORT_H

#include "event.h"

#define DNS_PORTS 8

const volatile __u16 dns_ports[DNS_PORTS] = {}; /* a 0 ends them */

/* Ports of backends. The server socket of a remote client knows only the backend's port. All objects share the map. Rules of the
 * node's own namespace are its administrator's, and the ports in them, in the order in which they were found, stay. Any user can
 * have rules in a namespace of its own: of those the latest ports are known, and push out none of the node's.
 */
struct dns_backends {
	__u16 n;    /* of ports, at most DNS_PORTS; further ones are ignored */
	__u16 next; /* of others */
	__u16 ports[DNS_PORTS];
	__u16 others[DNS_PORTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dns_backends);
} dns_backends SEC(".maps");

static __always_inline bool is_dns_port(__u16 port)
{
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < DNS_PORTS && dns_ports[i]; i++) /* rolled: see want.h */
		if (port == dns_ports[i])
			return true;
	return false;
}

static __always_inline bool is_dns_backend(const struct dns_backends *b, __u16 port)
{
	int i;

	for (i = 0; i < DNS_PORTS; i++)
		if ((i < b->n && port == b->ports[i]) || port == b->others[i])
			return true;
	return false;
}

/* Whether one of two ports is a DNS port, or that of a backend. */
static __always_inline bool is_dns(__u16 one, __u16 other)
{
	struct dns_backends *b;
	__u32 zero = 0;

	if (is_dns_port(one) || is_dns_port(other))
		return true;
	b = bpf_map_lookup_elem(&dns_backends, &zero);
	return b && (b->n || b->next) && (is_dns_backend(b, one) || is_dns_backend(b, other));
}

/* Learns from a flow that is DNATed from one port to another, in the node's own namespace or another. */
static __always_inline void learn_dns_backend(__u16 asked, __u16 serves, bool node)
{
	struct dns_backends *b;
	__u32 zero = 0, n;

	if (!is_dns_port(asked) || is_dns_port(serves))
		return;
	b = bpf_map_lookup_elem(&dns_backends, &zero);
	if (!b || is_dns_backend(b, serves))
		return;
	if (!node) {
		b->others[b->next % DNS_PORTS] = serves;
		b->next++;
		return;
	}
	n = b->n;
	if (n >= DNS_PORTS)
		return;
	b->ports[n] = serves; /* not atomic: of two at once one may be lost, until its next flow */
	b->n = n + 1;
}

#endif
