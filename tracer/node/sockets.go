// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/netlink"
	"ktrace/tracer/procfs"
)

// Layout of struct inet_diag_msg and its request, bytes.
const (
	sockDiagByFamily = 20
	diagReqSize      = 56
	diagMsgSize      = 72
	tcpListen        = 10
)

// socketAt finds the socket that a packet to an address is for: a listener of TCP, any socket of UDP. One bound to the
// address comes before one bound to all.
func socketAt(about event.LookupKey, dst netip.AddrPort) (event.Socket, error) {
	s := event.Socket{About: about}
	proto := protoNumber(about.Proto)
	if proto != unix.IPPROTO_TCP && proto != unix.IPPROTO_UDP {
		return s, nil
	}
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return s, err
	}
	defer c.Close()
	// An IPv6 socket that is bound to :: takes IPv4 as well, unless it has IPV6_V6ONLY, which is not read.
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if family == unix.AF_INET && dst.Addr().Is6() {
			continue
		}
		err := c.Ask(sockDiagByFamily, unix.NLM_F_DUMP, diagRequest(family, proto, dst.Port()), func(m netlink.Message) error {
			if x, ok := socketOf(about, m.Payload, proto); ok && x.Local.Port() == dst.Port() && better(x, s, dst.Addr()) {
				s = x
			}
			return nil
		})
		if err != nil {
			return s, fmt.Errorf("sockets: %w", err)
		}
	}
	return s, nil
}

// overfull returns the listeners of the thread's namespace with an overflowed accept queue, or with dropped SYNs.
func overfull(inode uint32) ([]event.Socket, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var full []event.Socket
	about := event.LookupKey{Netns: inode, Proto: "tcp"}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		err := c.Ask(sockDiagByFamily, unix.NLM_F_DUMP, diagRequest(family, unix.IPPROTO_TCP, 0), func(m netlink.Message) error {
			if x, ok := socketOf(about, m.Payload, unix.IPPROTO_TCP); ok && (x.Queue > x.Limit || x.Drops > 0) {
				full = append(full, x)
			}
			return nil
		})
		if err != nil {
			return full, fmt.Errorf("listeners: %w", err)
		}
	}
	return full, nil
}

// better reports whether x is bound to the address, and s is not or only to all.
func better(x, s event.Socket, addr netip.Addr) bool {
	local := x.Local.Addr().Unmap()
	return local == addr && (!s.Found || s.Local.Addr().Unmap() != addr) || local.IsUnspecified() && !s.Found
}

// diagRequest is struct inet_diag_req_v2, with the memory of each socket wanted.
func diagRequest(family, proto byte, port uint16) []byte {
	const skmeminfo = 1 << (7 - 1) // INET_DIAG_SKMEMINFO
	b := make([]byte, diagReqSize)
	b[0], b[1], b[2] = family, proto, skmeminfo
	states := uint32(0xffffffff)
	if proto == unix.IPPROTO_TCP {
		states = 1 << tcpListen
	}
	binary.NativeEndian.PutUint32(b[4:], states)
	binary.BigEndian.PutUint16(b[8:], port)
	return b
}

func socketOf(about event.LookupKey, b []byte, proto byte) (event.Socket, bool) {
	if len(b) < diagMsgSize {
		return event.Socket{}, false
	}
	addr := netip.AddrFrom16([16]byte(b[8:24]))
	if b[0] == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(b[8:12]))
	}
	s := event.Socket{
		About: about, Found: true, Local: netip.AddrPortFrom(addr, netlink.NetUint16(b[4:])), State: socketState(b[1]),
		Queue: netlink.Uint32(b[56:]), Limit: netlink.Uint32(b[60:]), UID: netlink.Uint32(b[64:]), Inode: netlink.Uint32(b[68:]),
	}
	const rcvbuf, drops = 1, 8 // of SK_MEMINFO_VARS
	memory := netlink.AttrMap(b[diagMsgSize:])[7]
	if proto == unix.IPPROTO_UDP && len(memory) >= 4*(rcvbuf+1) {
		s.Limit = netlink.Uint32(memory[4*rcvbuf:])
	}
	if len(memory) >= 4*(drops+1) {
		s.Drops = netlink.Uint32(memory[4*drops:])
	}
	return s, true
}

func socketState(n byte) string {
	names := []string{"", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN",
		"CLOSING"}
	if int(n) < len(names) {
		return names[n]
	}
	return strconv.Itoa(int(n))
}

const (
	maxDescriptors = 100_000 // that are looked at for a socket's owner
	maxFiles       = 1 << 16 // of one process
)

// owner finds the process that has a socket open, among those in the namespace; 0 if none was found.
func owner(node *procfs.FS, netns, inode uint32) (pid uint32, comm string) {
	link, left := fmt.Sprintf("socket:[%d]", inode), maxDescriptors
	for p := range node.InNetns(netns) {
		for f := range p.Files(maxFiles) {
			if left--; left < 0 {
				return 0, ""
			}
			if f.Link() == link {
				return p.PID, p.Comm() // it may have ended; its number still says something
			}
		}
	}
	return 0, ""
}
