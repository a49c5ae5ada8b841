package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// Flags of TCP.
const (
	synFlag, resetFlag, pushFlag, ackFlag = 0x02, 0x04, 0x08, 0x10
)

// forgeryScenarios are resets that a box on the way sends in the server's name: at the SYN, which the server, far
// away, accepts nevertheless, and at the first payload.
func forgeryScenarios(f family) []lab.Scenario {
	setup := func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
		go serve(listen(t, c.Server, f.server), func() func(net.Conn) { return readAll })
	}
	traffic := func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
		c := dial(t, p.NS, f.server)
		if c == nil {
			return
		}
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) // may meet the reset
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
	return []lab.Scenario{
		{
			Name:  "a middle box resets after the SYN " + f.name,
			Args:  []string{"reset"},
			Setup: setup,
			Fault: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				// The server is next door and would answer first: the box plays its late answer, too.
				c.Server.IP("route add blackhole " + f.pod(p))
				forge(t, c.Node, synFlag, []forgery{{resetFlag | ackFlag, 200}, {synFlag | ackFlag, 57}})
			},
			Traffic: traffic,
			Want:    "reset-by-middlebox",
			Sure:    "likely",
		},
		{
			Name:  "a middle box resets after the first payload " + f.name,
			Args:  []string{"reset"},
			Setup: setup,
			Fault: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
				forge(t, c.Node, pushFlag, []forgery{{resetFlag | ackFlag, 200}})
			},
			Traffic: traffic,
			Want:    "reset-by-middlebox",
			Sure:    "likely",
		},
	}
}

// forgery is a packet in another's name.
type forgery struct {
	flags, ttl byte
}

// forge answers, in a namespace and until the test ends, every TCP packet to webPort that comes in with the flag in
// the name of its destination.
func forge(t testing.TB, ns *lab.NS, flag byte, answers []forgery) {
	t.Helper()
	var sniffer, sender4, sender6 int
	ns.Do(func() {
		sniffer = socket(t, unix.AF_PACKET, unix.SOCK_DGRAM, int(htons(unix.ETH_P_ALL)))
		sender4 = socket(t, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		sender6 = socket(t, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW)
	})
	// Closing would not wake a blocked read; a limit on it does.
	if err := unix.SetsockoptTimeval(sniffer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-done
		for _, fd := range []int{sniffer, sender4, sender6} {
			unix.Close(fd)
		}
	})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(sniffer, buf, 0)
			if err != nil {
				if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
					continue
				}
				return
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
				continue // seen when it came in
			}
			for _, f := range answers {
				answer(sender4, sender6, buf[:n], flag, f)
			}
		}
	}()
}

func socket(t testing.TB, domain, kind, proto int) int {
	t.Helper()
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	return fd
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// answer sends a forgery for one packet, if it is one to be answered.
func answer(sender4, sender6 int, packet []byte, flag byte, f forgery) {
	v6 := packet[0]>>4 == 6
	addr, size, head := 4, 12, int(packet[0]&15)*4
	if v6 {
		addr, size, head = 16, 8, 40
	}
	if len(packet) < head+20 || v6 && packet[6] != unix.IPPROTO_TCP || !v6 && packet[9] != unix.IPPROTO_TCP {
		return
	}
	tcp := packet[head:]
	if binary.BigEndian.Uint16(tcp[2:]) != 8080 || tcp[13]&flag == 0 || tcp[13]&resetFlag != 0 {
		return
	}
	src, dst := packet[size:size+addr], packet[size+addr:size+2*addr]
	payload := uint32(len(tcp) - int(tcp[12]>>4)*4)
	if flag == synFlag {
		payload = 1 // the SYN
	}
	reset := make([]byte, 20)
	copy(reset, tcp[2:4])
	copy(reset[2:], tcp[:2])
	copy(reset[4:], tcp[8:12]) // what the client expects next
	binary.BigEndian.PutUint32(reset[8:], binary.BigEndian.Uint32(tcp[4:])+payload)
	reset[12], reset[13] = 5<<4, f.flags
	binary.BigEndian.PutUint16(reset[16:], checksum(unix.IPPROTO_TCP, dst, src, reset))
	if v6 {
		h := append([]byte{0x60, 0, 0, 0, 0, 20, unix.IPPROTO_TCP, f.ttl}, append(append([]byte{}, dst...), src...)...)
		_ = unix.Sendto(sender6, append(h, reset...), 0, &unix.SockaddrInet6{Addr: [16]byte(src)})
		return
	}
	h := append([]byte{0x45, 0, 0, 40, 0x12, 0x34, 0, 0, f.ttl, unix.IPPROTO_TCP, 0, 0}, append(append([]byte{}, dst...), src...)...)
	_ = unix.Sendto(sender4, append(h, reset...), 0, &unix.SockaddrInet4{Addr: [4]byte(src)})
}

// checksum is the Internet's, over a pseudo header, too, if there are addresses (RFC 1071, RFC 9293 3.1, RFC 8200 8.1).
func checksum(proto byte, src, dst, body []byte) uint16 {
	var sum uint32
	if len(src) > 0 {
		sum = uint32(proto) + uint32(len(body))
	}
	for _, b := range [][]byte{src, dst, body} {
		for i, c := range b {
			sum += uint32(c) << (8 * (1 - i%2))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// resetAnswer is the reset that answers a SYN in the name of its destination; nil for anything else.
func resetAnswer(packet []byte) []byte { return resetOf(packet, synFlag) }

// resetOf is the reset that answers a packet with these flags in the name of its destination; nil for others.
func resetOf(packet []byte, flags byte) []byte {
	v6 := packet[0]>>4 == 6
	addr, size, head := 4, 12, int(packet[0]&15)*4
	if v6 {
		addr, size, head = 16, 8, 40
	}
	if len(packet) < head+20 || v6 && packet[6] != unix.IPPROTO_TCP || !v6 && packet[9] != unix.IPPROTO_TCP || packet[head+13] != flags {
		return nil
	}
	tcp := packet[head:]
	src, dst := packet[size:size+addr], packet[size+addr:size+2*addr]
	reset := make([]byte, 20)
	copy(reset, tcp[2:4])
	copy(reset[2:], tcp[:2])
	copy(reset[4:], tcp[8:12]) // of a SYN 0
	binary.BigEndian.PutUint32(reset[8:], binary.BigEndian.Uint32(tcp[4:])+1)
	reset[12], reset[13] = 5<<4, resetFlag|ackFlag
	binary.BigEndian.PutUint16(reset[16:], checksum(unix.IPPROTO_TCP, dst, src, reset))
	if v6 {
		h := append([]byte{0x60, 0, 0, 0, 0, 20, unix.IPPROTO_TCP, 60}, dst...)
		return append(append(h, src...), reset...)
	}
	h := append([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 60, unix.IPPROTO_TCP, 0, 0}, append(append([]byte{}, dst...), src...)...)
	binary.BigEndian.PutUint16(h[10:], checksum(0, nil, nil, h))
	return append(h, reset...)
}
