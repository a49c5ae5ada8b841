package filter_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	pcap "ktrace/decoder/filter"
	"ktrace/tracer/filter"
)

// TestRealTrafficIsFilteredAsTheMatcherWould captures the loopback traffic of a new network namespace twice: all of it,
// and what a program lets through. The kernel keeps what TCP sends in pages outside the linear part of a
// buffer, so that the filters on payload see that they reach there.
func TestRealTrafficIsFilteredAsTheMatcherWould(t *testing.T) {
	needRoot(t)
	const last = "udp dst port 9 or " // how the capture is known to be complete; first, since a read beyond the packet rejects it
	for _, expr := range []string{
		"tcp port 7000", "tcp[tcpflags] & tcp-syn != 0", "greater 1000", "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x6b747261",
		"ip[len - 15] = 0x21 and tcp", "ether[len - 1] = 0x21", "not tcp", "tcp[1032] = 0x2e", "ether[3000] = 0x2e", "udp[8:2] = 0x7564",
	} {
		inNewNamespace(t, func() {
			all, some := packetSocket(t), packetSocket(t)
			p := load(t, ebpf.SocketFilter, asm.Instructions{
				asm.Mov.Imm(asm.R2, 0), asm.Call.Label(filter.FrameStub), asm.LSh.Imm(asm.R0, 20), asm.Return(),
			}, filter.FrameStub, last+"("+expr+")")
			if err := unix.SetsockoptInt(some, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.FD()); err != nil {
				t.Fatal(err)
			}
			traffic(t)
			m := matcher(t, pcap.LinkEthernet, last+"("+expr+")")
			var want [][]byte
			frames := untilLast(t, all)
			for _, f := range frames {
				if m.Match(pcap.Packet{Data: f, Length: len(f)}) {
					want = append(want, f)
				}
			}
			got := untilLast(t, some)
			if len(want) < 2 || len(want) == len(frames) {
				t.Errorf("%q: the matcher takes %d of %d frames, so the traffic is no test of it", expr, len(want), len(frames))
			}
			if !equalFrames(got, want) {
				t.Errorf("%q: the kernel takes %d of %d frames, the matcher %d", expr, len(got), len(frames), len(want))
			}
		})
	}
}

func equalFrames(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// inNewNamespace runs f on a thread of its own in a new network namespace, of which it has only the loopback. The
// thread, and with it the namespace, ends with f.
func inNewNamespace(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: no other goroutine may run here
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("new network namespace: %v", err)
			return
		}
		f()
	}()
	<-done
}

// packetSocket receives every frame of the loopback, which it brings up.
func packetSocket(t *testing.T) int {
	t.Helper()
	const loopback, everything = 1, 0x0300 // ETH_P_ALL in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everything)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	up, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	up.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: loopback}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// traffic is a TCP connection with some payload each way, a datagram, and the one that is known as the last.
func traffic(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp4", "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	payload := append(append([]byte("ktrace"), bytes.Repeat([]byte{'.'}, 5000)...), '!')
	if _, err := client.Write(payload); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, payload); err != nil {
		t.Fatal(err)
	}
	client.Close()
	server.Close()
	for _, to := range []string{"127.0.0.1:7001", "127.0.0.1:9"} {
		udp, err := net.Dial("udp4", to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := udp.Write([]byte("udp!")); err != nil {
			t.Fatal(err)
		}
		udp.Close()
	}
}

// untilLast receives up to the datagram to port 9.
func untilLast(t *testing.T, fd int) [][]byte {
	t.Helper()
	end := matcher(t, pcap.LinkEthernet, "udp dst port 9")
	var frames [][]byte
	for buf := make([]byte, 1<<17); ; {
		n, err := unix.Read(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		f := bytes.Clone(buf[:n])
		frames = append(frames, f)
		if end.Match(pcap.Packet{Data: f, Length: len(f)}) {
			return frames
		}
	}
}
