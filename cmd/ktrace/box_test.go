package main

import (
	"encoding/binary"
	"io"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

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

// narrow takes no packet longer than mtu; if it tells, it answers those by ICMP.
func narrow(mtu int, tells bool) func([]byte) (bool, []byte) {
	return func(packet []byte) (bool, []byte) {
		if len(packet) <= mtu {
			return true, nil
		}
		if !tells {
			return false, nil
		}
		return false, tooBigAnswer(packet, mtu)
	}
}

// tooBigAnswer is the ICMP error that a router sends (RFC 1191, RFC 4443 3.2).
func tooBigAnswer(packet []byte, mtu int) []byte {
	v4, v6 := [8]byte{3, 4}, [8]byte{2}
	binary.BigEndian.PutUint16(v4[6:], uint16(mtu))
	binary.BigEndian.PutUint32(v6[4:], uint32(mtu))
	return errorAnswer(packet, v4, v6)
}

// refusal is the ICMP error of a host where nothing listens (RFC 792, RFC 4443 3.1).
func refusal(packet []byte) []byte { return errorAnswer(packet, [8]byte{3, 3}, [8]byte{1, 4}) }

// errorAnswer is an ICMP error about a packet, with the head for its family; its source is nobody's address.
func errorAnswer(packet []byte, v4, v6 [8]byte) []byte {
	const quoted = 548
	quote := packet[:min(len(packet), quoted)]
	if packet[0]>>4 == 6 {
		icmp := append(v6[:], quote...)
		src := []byte{0xfd, 0, 0, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6}
		binary.BigEndian.PutUint16(icmp[2:], checksum(unix.IPPROTO_ICMPV6, src, packet[8:24], icmp))
		header := append([]byte{0x60, 0, 0, 0, byte(len(icmp) >> 8), byte(len(icmp)), unix.IPPROTO_ICMPV6, 64}, src...)
		return append(append(header, packet[8:24]...), icmp...)
	}
	icmp := append(v4[:], quote...)
	binary.BigEndian.PutUint16(icmp[2:], checksum(0, nil, nil, icmp))
	total := 20 + len(icmp)
	header := append([]byte{0x45, 0, byte(total >> 8), byte(total), 0, 0, 0, 0, 64, unix.IPPROTO_ICMP, 0, 0, 10, 66, 6, 6}, packet[12:16]...)
	binary.BigEndian.PutUint16(header[10:], checksum(0, nil, nil, header))
	return append(header, icmp...)
}
