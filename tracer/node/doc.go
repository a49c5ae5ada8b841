// SPDX-License-Identifier: Apache-2.0

// Package node reads what is known of a network namespace rather than seen in it: packet filter rules and their
// counters, services as kube-proxy wrote them, routes, neighbours, sysctls, conntrack, sockets. It only reads; even a
// table that does not exist yet is not asked for, because that would make it. What it reads becomes facts in the stream:
//
//	event ──► Enricher ──► Reader ──► one locked thread in the event's network namespace:
//	  ▲                                 netlink, getsockopt, /proc
//	  └── facts that explain it ◄────────┘
package node
