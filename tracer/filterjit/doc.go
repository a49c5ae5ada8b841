// SPDX-License-Identifier: Apache-2.0

// Package filterjit makes eBPF of compiled packet filters and puts it into programs before they are loaded.
//
// A program that filters packets calls a stub, which as compiled accepts everything, and Splice replaces the
// stub's body. There are two, and an object may have either or both. In C:
//
//	/* Whether a frame in TC passes the filter; way is 1 on ingress, 2 on egress, 0 if not known. */
//	__attribute__((noinline)) int packet_filter_l2(struct __sk_buff *skb, __u32 way)
//	{
//		int pass = 1;
//
//		asm volatile("" : "+r"(pass) : "r"(skb), "r"(way));
//		return pass;
//	}
//
//	/* Whether a packet that starts at its network header passes the filter.
//	 * data: kernel address of that header; room: bytes that can be read from there (the linear part);
//	 * len: length of the packet from there; about: bits 0-15 EtherType in host order, 16-31 VLAN TCI,
//	 * 32 set if there is such a tag beside the packet, 33-34 way as above; ifindex: of its device.
//	 */
//	__attribute__((noinline)) int packet_filter_l3(__u64 data, __u32 room, __u32 len, __u64 about, __u32 ifindex)
//	{
//		int pass = 1;
//
//		asm volatile("" : "+r"(pass) : "r"(data), "r"(room), "r"(len), "r"(about), "r"(ifindex));
//		return pass;
//	}
//
// Both take only a context or numbers, so that they may be global functions, which the verifier checks once
// however often they are called (kernel 5.6); static ones work too. The asm keeps the compiler from
// drawing conclusions from the body that it sees.
//
// What is generated copies the first bytes of the packet to the stack with one helper call
// (bpf_skb_load_bytes, or bpf_probe_read_kernel in the second form) and compares there; bytes at an offset that
// depends on a header, such as TCP ports, take a second call. So packets whose bytes are not in the
// linear part of the buffer are filtered like others in TC, and there are no loops, no maps and no
// packet pointers. It needs kernel 5.5 and takes at most 240 bytes of stack, of the second form 160.
//
// A filter with vlan in it sees in TC the frame as it was on the wire: an outer tag that the kernel has taken
// off is put back. One without vlan sees the frame as the kernel has it, where that tag is gone, as
// tcpdump does when it captures.
package filterjit
