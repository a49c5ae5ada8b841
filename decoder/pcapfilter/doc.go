// SPDX-License-Identifier: Apache-2.0

// Package pcapfilter turns pcap-filter expressions into programs that say yes or no to a packet.
//
// An expression is parsed once (Parse) and compiled for a link type (Expr.Compile) into a Program: a
// graph of comparisons in which every edge goes forward. Program.Match runs it over packets in
// memory; tracer/filter makes eBPF of the same graph. The package knows no kernel and no clock.
//
// The language is the one of pcap-filter(7) and means what libpcap 1.10 makes of it, bug for bug where
// a packet could show the difference: and/or have equal precedence and associate to the left, not binds
// tightest, a bare id takes the qualifiers of the one before it, port looks only at first
// fragments of IPv4 and at no IPv6 extension header, a read beyond the captured bytes rejects the packet even
// under not, and only the leftmost operand of an arithmetic expression has its protocol checked.
//
// It differs from libpcap in this:
//
//   - tcp[..], udp[..] and sctp[..] read IPv6 packets too, where the transport header follows the IPv6
//     header at once; libpcap rejects every IPv6 packet there. Expressions that also read ip[..]
//     keep to IPv4.
//   - proto takes protocol names without a backslash: ip proto tcp.
//   - Names of hosts and networks are refused: a filter must not wait for DNS. Service names come from
//     a table in the program, not from the machine's /etc/services.
//   - inbound and outbound match neither way when the direction of a packet is not known.
//   - protochain, gateway, geneve, pppoes, llc, byte, the pf and the 802.11 words, and DECnet
//     addresses are refused with a reason.
//   - LinkNetwork, packets seen at their network header inside the kernel, has no counterpart there.
package pcapfilter
