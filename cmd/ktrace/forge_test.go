// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
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
				forge(t, c.Node, packettest.SYN, []forgery{{packettest.RST | packettest.ACK, 200}, {packettest.SYN | packettest.ACK, 57}})
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
				forge(t, c.Node, packettest.PSH, []forgery{{packettest.RST | packettest.ACK, 200}})
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
	p, tcp := segmentOf(packet)
	if tcp == nil || tcp.DstPort != 8080 || flagsOf(tcp)&flag == 0 || tcp.RST {
		return
	}
	received := uint32(len(tcp.Payload))
	if flag == packettest.SYN {
		received = 1 // the SYN
	}
	b := inNameOfReceiver(p, tcp, f, received)
	if client := p.NetworkLayer().NetworkFlow().Src().Raw(); len(client) == net.IPv6len {
		_ = unix.Sendto(sender6, b, 0, &unix.SockaddrInet6{Addr: [16]byte(client)})
	} else {
		_ = unix.Sendto(sender4, b, 0, &unix.SockaddrInet4{Addr: [4]byte(client)})
	}
}

// segmentOf returns the TCP header of an IP packet; nil of others.
func segmentOf(packet []byte) (gopacket.Packet, *layers.TCP) {
	p := packettest.Read(packet)
	tcp, _ := p.TransportLayer().(*layers.TCP)
	return p, tcp
}

// flagsOf are the flags as the header has them.
func flagsOf(tcp *layers.TCP) byte { return tcp.Contents[13] }

// inNameOfReceiver answers a segment in the name of its destination, which received so many of its bytes.
func inNameOfReceiver(p gopacket.Packet, tcp *layers.TCP, f forgery, received uint32) []byte {
	flow := p.NetworkLayer().NetworkFlow()
	client, _ := netip.AddrFromSlice(flow.Src().Raw())
	server, _ := netip.AddrFromSlice(flow.Dst().Raw())
	return packettest.Build(packettest.IP(server, client, layers.IPProtocolTCP, f.ttl),
		packettest.Segment(uint16(tcp.DstPort), uint16(tcp.SrcPort), f.flags, tcp.Ack, tcp.Seq+received)) // of a SYN, Ack is 0
}

// resetAnswer is the reset that answers a SYN in the name of its destination; nil for anything else.
func resetAnswer(packet []byte) []byte { return resetOf(packet, packettest.SYN) }

// resetOf is the reset that answers a packet with these flags in the name of its destination; nil for others.
func resetOf(packet []byte, flags byte) []byte {
	p, tcp := segmentOf(packet)
	if tcp == nil || flagsOf(tcp) != flags {
		return nil
	}
	return inNameOfReceiver(p, tcp, forgery{packettest.RST | packettest.ACK, 60}, 1)
}
