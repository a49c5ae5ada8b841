// SPDX-License-Identifier: Apache-2.0

// Package netlink asks the kernel for tables and rows, and has it change them, over AF_NETLINK sockets (netlink(7)).
// It knows how messages and attributes are framed and nothing of what they mean.
//
// It stays our own, and not github.com/mdlayher/netlink: rules are parsed while they arrive, so that a dump of 256 MiB
// needs one buffer, and NLM_F_DUMP_INTR is an error here, so that no answer is pieced together from two states.
package netlink
