// SPDX-License-Identifier: Apache-2.0

// Package packet reads the headers of IP packets: addresses, ports, TCP flags, ICMP types, and where what is carried
// begins. It reads what bpf/include/skb.h reads in the kernel, by the same rules, so that a packet of a capture and one of
// a probe say the same.
//
// It is on the way of every packet, and so does neither allocate nor look behind the transport's header: Parse takes some
// 20 ns (BenchmarkParse), a third of what github.com/google/gopacket's parser for layers that are used again does. What only
// people read, such as the
// layers of DHCP or of SCTP, is gopacket's work; in the tests it is the oracle.
package packet
