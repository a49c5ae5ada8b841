// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/netip"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// box is a router that no tracer can look into, as those beyond the node: a process between two tunnels. What it does
// not pass on is gone without a trace on this kernel.
type box struct {
	// forth and back say whether a packet passes, to the far side or from it; answer goes back to its sender, if it is
	// not nil. Each is called by one goroutine.
	forth, back func(packet []byte) (pass bool, answer []byte)
}

// farSide is the namespace behind a box. It has the address that stack.far names, to which the node has a route.
func (f stack) farSide(t testing.TB, c *lab.Cluster, b box) *lab.NS {
	t.Helper()
	beyond := c.Namespace("beyond")
	near, far := tunnel(t, c.Node), tunnel(t, beyond)
	for _, ns := range []*lab.NS{c.Node, beyond} {
		ns.IP("link set way up")
	}
	f.do(c.Node, "route add "+f.far()+f.bits()+" dev way")
	f.do(beyond, "addr add "+f.far()+f.bits()+" dev lo nodad", "route add default dev way")
	go relay(near, far, b.forth)
	go relay(far, near, b.back)
	return beyond
}

// tunnel makes the device "way" in a namespace and returns the end that a process has.
func tunnel(t testing.TB, ns *lab.NS) *os.File {
	t.Helper()
	var fd int
	ns.Do(func() {
		var err error
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			t.Fatal(err)
		}
		var req struct {
			name  [unix.IFNAMSIZ]byte
			flags uint16
			_     [22]byte
		}
		copy(req.name[:], "way")
		req.flags = unix.IFF_TUN | unix.IFF_NO_PI
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
			t.Fatal(errno)
		}
	})
	f := os.NewFile(uintptr(fd), "tun")
	t.Cleanup(func() { f.Close() })
	return f
}

// relay passes packets on until a tunnel is closed.
func relay(from, to io.ReadWriter, pass func([]byte) (bool, []byte)) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		passes, answer := pass(buf[:n])
		if passes {
			_, _ = to.Write(buf[:n]) // or the device is not up yet
		}
		if answer != nil {
			_, _ = from.Write(answer)
		}
	}
}

// everything passes.
func everything([]byte) (bool, []byte) { return true, nil }

// narrow takes no packet longer than mtu; if it answers, it sends ICMP errors for those.
func narrow(mtu int, answers bool) func([]byte) (bool, []byte) {
	return func(packet []byte) (bool, []byte) {
		if len(packet) <= mtu {
			return true, nil
		}
		if !answers {
			return false, nil
		}
		return false, tooBigAnswer(packet, mtu)
	}
}

// tooBigAnswer is the ICMP error that a router sends (RFC 1191, RFC 4443 3.2).
func tooBigAnswer(packet []byte, mtu int) []byte {
	return errorAnswer(packet, icmpError{3, 4, uint32(mtu)}, icmpError{2, 0, uint32(mtu)})
}

// refusal is the ICMP error of a host where nothing listens (RFC 792, RFC 4443 3.1).
func refusal(packet []byte) []byte {
	return errorAnswer(packet, icmpError{3, 3, 0}, icmpError{1, 4, 0})
}

// icmpError is the head of an ICMP error, whose last word has the limit where the packet is too big.
type icmpError struct {
	kind, code uint8
	rest       uint32
}

// errorAnswer is an ICMP error about a packet, with the head for its family; its source is an address that no host has.
func errorAnswer(packet []byte, v4, v6 icmpError) []byte {
	const quoted = 548
	head, from := v4, netip.MustParseAddr("10.66.6.6")
	if packet[0]>>4 == 6 {
		head, from = v6, netip.MustParseAddr("fd00:66::6")
	}
	return packettest.ICMPError(from, head.kind, head.code, head.rest, packet[:min(len(packet), quoted)])
}
