// SPDX-License-Identifier: Apache-2.0

// Package pcapng reads and writes capture files without losing anything in them.
//
// A Reader takes pcapng (both byte orders, any number of sections), classic pcap (microseconds and
// nanoseconds, both byte orders) and either of them in gzip, and yields blocks. A Block holds the
// bytes of the file; views such as Packet, Names and Statistics decode them on demand and leave
// every option where it was. A Writer passes blocks through byte for byte, or builds new ones.
//
// Input is hostile: nothing here panics on it, and memory grows with the bytes that arrive, never
// with the lengths they claim. The package knows no kernel, no cluster and no clock.
//
// Layouts are those of draft-ietf-opsawg-pcapng and draft-ietf-opsawg-pcap.
package pcapng
