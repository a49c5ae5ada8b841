// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// parting is a server that answers, and closes as soon as all has come that the client will ever send, or before.
func parting(l net.Listener, exchange func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go exchange(c)
	}
}

// exchanged reads a question and answers it.
func exchanged(c net.Conn) {
	_, _ = io.ReadFull(c, make([]byte, 10))
	_, _ = c.Write(make([]byte, 500))
}

// TestResetsWithoutLoss are how streams end that have said all, and what looks for servers. None is more than
// information.
func TestResetsWithoutLoss(t *testing.T) {
	t.Parallel()
	for i, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			p.Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits for seconds
			answered := make(chan struct{}, 64)
			far := stacks()[i].farSide(t, c, box{forth: resetsWhatAnswers(answered), back: everything})
			file := filepath.Join(t.TempDir(), "run.pcapng")
			run := lab.Ktrace(t, "reset", "--netns", p.Path(), "-w", file)
			closesWhenAllIsSaid(t, c.Server, p.NS, f.server)
			closesWhenAllIsSaid(t, c.Node, p.NS, stacks()[i].uplink)
			said := make(chan struct{})
			go parting(listen(t, c.Server, f.server), func(c net.Conn) {
				exchanged(c)
				<-said // the good-bye is there, unread
				lab.Close(c)
			})
			client := dial(t, p.NS, f.server)
			_, _ = client.Write(make([]byte, 10))
			_, _ = io.ReadFull(client, make([]byte, 500))
			_, _ = client.Write(make([]byte, 30))
			awaitAcknowledged(t, client)
			close(said)
			_, _ = io.Copy(io.Discard, client)
			scan(t, far, stacks()[i].far(), f.pod(p), listen(t, p.NS, f.pod(p)), answered)
			lines := run.Stop()
			lab.SameRead(t, file, lines, "reset", "--netns", p.Path())
			if rows := lab.Events(lines, "reset"); len(rows) < 4 {
				t.Errorf("%d resets, want those of the clients, of the server and of the scans", len(rows))
			}
			closes := 0
			for _, l := range lab.Findings(lines) {
				var found struct{ Severity, Subject string }
				if l.Into(t, &found); found.Severity != "info" {
					t.Errorf("claims %s", l.Raw)
				}
				if found.Subject == "clients that close" {
					closes++
				}
			}
			if closes != 1 {
				t.Errorf("%d findings about clients that close, want one for all\n%s", closes, lab.Findings(lines))
			}
		})
	}
}

// closesWhenAllIsSaid has a client close that has its answer, as a probe does, and its server say good-bye, as of TLS.
func closesWhenAllIsSaid(t *testing.T, server, client *lab.NS, addr string) {
	t.Helper()
	l, gone := listen(t, server, addr), make(chan struct{})
	defer lab.Close(l)
	go parting(l, func(c net.Conn) {
		defer close(gone)
		exchanged(c)
		_, _ = io.Copy(io.Discard, c)
		_, _ = c.Write(make([]byte, 31))
		awaitState(t, c, unix.BPF_TCP_CLOSE) // by the reset
		lab.Close(c)
	})
	c := dial(t, client, addr)
	_, _ = c.Write(make([]byte, 10))
	_, _ = io.ReadFull(c, make([]byte, 500))
	lab.Close(c)
	<-gone
}

// resetsWhatAnswers is a machine that scans, as far as it can be seen from here: its kernel resets what answers its SYNs.
func resetsWhatAnswers(answered chan<- struct{}) func([]byte) (bool, []byte) {
	return func(packet []byte) (bool, []byte) {
		select {
		case answered <- struct{}{}:
		default:
		}
		return false, resetOf(packet, packettest.SYN|packettest.ACK)
	}
}

// scan sends SYNs that are made by hand, with whatever TTL, and from one port again and again.
func scan(t testing.TB, beyond *lab.NS, from, to string, l net.Listener, answered <-chan struct{}) {
	t.Helper()
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	domain := unix.AF_INET
	if src.Is6() {
		domain = unix.AF_INET6
	}
	var raw int
	beyond.Do(func() { raw = socket(t, domain, unix.SOCK_RAW, unix.IPPROTO_RAW) })
	defer unix.Close(raw)
	open := uint16(l.Addr().(*net.TCPAddr).Port)
	for i, ttl := range []byte{254, 37, 59, 63, 200} {
		for _, port := range []uint16{open, 81} { // where nothing listens
			var err error
			if packet := syn(src, dst, port, uint32(i), ttl); src.Is6() {
				err = unix.Sendto(raw, packet, 0, &unix.SockaddrInet6{Addr: dst.As16()})
			} else {
				err = unix.Sendto(raw, packet, 0, &unix.SockaddrInet4{Addr: dst.As4()})
			}
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-answered:
			case <-time.After(10 * time.Second):
				t.Fatal("no SYN is answered")
			}
		}
	}
}

// syn is one from port 40125, with all headers.
func syn(src, dst netip.Addr, port uint16, isn uint32, ttl byte) []byte {
	return packettest.Build(packettest.IP(src, dst, layers.IPProtocolTCP, ttl), packettest.Segment(40125, port, packettest.SYN, isn<<20, 0))
}

// keptTooLong is a client whose second request meets the end of a connection that it thought was kept.
func keptTooLong(f family) lab.Scenario {
	var closing each[bool]
	return lab.Scenario{
		Name: "a request meets the close of a kept connection " + f.name, Args: []string{"reset"},
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			closing.put(c, false)
			go parting(listen(t, c.Server, f.server), func(conn net.Conn) {
				exchanged(conn)
				if closing.get(c) {
					lab.Close(conn)
				} else {
					readAll(conn)
				}
			})
		},
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { closing.put(c, true) },
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			client := dial(t, p.NS, f.server)
			_, _ = client.Write(make([]byte, 10))
			_, _ = io.ReadFull(client, make([]byte, 500))
			if closing.get(c) {
				awaitState(t, client, unix.BPF_TCP_CLOSE_WAIT)
			}
			_, _ = client.Write(make([]byte, 200))
			_ = client.SetReadDeadline(time.Now().Add(patience))
			_, _ = io.Copy(io.Discard, client)
		},
		Want: "reset-by-application", Sure: "certain", Proof: "connection was CLOSE_WAIT",
	}
}

// unansweredUpload is a client that says that it has sent all, and waits for the answer of a server that does not read it.
func unansweredUpload(f family) lab.Scenario {
	var hasty each[bool]
	return lab.Scenario{
		Name: "a client that has said all waits for its answer " + f.name, Args: []string{"reset"},
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			hasty.put(c, false)
			go parting(listen(t, c.Server, f.server), func(conn net.Conn) {
				awaitState(t, conn, unix.BPF_TCP_CLOSE_WAIT)
				if hasty.get(c) {
					_, _ = io.ReadFull(conn, make([]byte, 10))
					lab.Close(conn)
				} else {
					readAll(conn)
				}
			})
		},
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { hasty.put(c, true) },
		Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
			client := dial(t, p.NS, f.server)
			_, _ = client.Write(make([]byte, 1000))
			_ = client.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, client)
		},
		Want: "reset-by-application", Sure: "certain", Proof: "990 bytes received and not read",
	}
}

// awaitState waits until a connection is in a state.
func awaitState(t testing.TB, c net.Conn, state uint8) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		var info *unix.TCPInfo
		if inner := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); inner != nil || err != nil {
			t.Fatal(inner, err)
		}
		if info.State == state {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the connection is in state %d, not %d", info.State, state)
		}
		time.Sleep(time.Millisecond) // a state has no wait of its own
	}
}

func TestResetReportsRequestsThatAreLost(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range families() {
		all = append(all, keptTooLong(f), unansweredUpload(f))
	}
	lab.RunAll(t, all)
}
