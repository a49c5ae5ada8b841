/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The ports that the verb asks for. */
#ifndef KTRACE_WANT_H
#define KTRACE_WANT_H

#include "skb.h"

#define MAX_PORTS 8

const volatile __u32 ports_wanted = 0; /* length of ports; 0: every port */
const volatile __u16 ports[MAX_PORTS] = {};

/* Whether an end has a port that is asked for. The loop is not unrolled: the verifier removes each round that the constants
 * rule out, and moves the rest of the program every time.
 */
static __always_inline bool port_wanted(const struct tuple *t)
{
	__u32 i;

	if (!ports_wanted)
		return true;
#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_PORTS && i < ports_wanted; i++)
		if (t->sport == ports[i] || t->dport == ports[i])
			return true;
	return false;
}

#endif
