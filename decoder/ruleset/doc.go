// SPDX-License-Identifier: Apache-2.0

// Package ruleset turns what the kernel says of its packet filters into rules, and finds which of them a packet
// may have met. It knows the tables of iptables, old and on nftables, and nftables itself, from the bytes that the
// kernel hands out; it makes no system call.
//
//	getsockopt blob ─┐
//	netlink messages ┼─► Ruleset ──► Walk(packet)  ──► DropRules(before, after)
//	iptables-save    ┘          └──► Services
package ruleset
