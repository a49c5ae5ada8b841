/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The ports that the verb asks for. */
#ifndef KTRACE_WANT_H
#define KTRACE_WANT_H

#include "skb.h"

#define MAX_PORTS 8

const volatile __u32 ports_wanted = 0; /* length of ports; 0: every port */
const volatile __u16 ports[MAX_PORTS] = {};

static __always_inline bool port_wanted(const struct tuple *t)
{
	__u32 i;

	if (!ports_wanted)
		return true;
	for (i = 0; i < MAX_PORTS; i++)
		if (i < ports_wanted && (t->sport == ports[i] || t->dport == ports[i]))
			return true;
	return false;
}

#endif
