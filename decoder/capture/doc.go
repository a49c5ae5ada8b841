// SPDX-License-Identifier: Apache-2.0

// Package capture turns the stream of records into an annotated capture file, and any capture file into a stream of
// records, so that what is concluded of a file is concluded by the same stages and rules as live.
//
//	records ──► Writer ──► pcapng: packets with names, directions, verdicts, JSON, for Wireshark and tcpdump;
//	                       beside them, where those do not look, the records themselves
//	pcapng, pcap, of anybody ──► Reader ──► records
//
// A file of ktrace gives back the very records that it was made from. Another's gives packets, as a capture of ktrace
// would have taken them.
package capture
