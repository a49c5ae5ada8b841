// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// each keeps what a scenario's functions hand on to each other: they run for several networks at a time.
type each[T any] struct {
	mu  sync.Mutex
	all map[*lab.Cluster]T
}

func (e *each[T]) put(c *lab.Cluster, v T) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[*lab.Cluster]T{}
	}
	e.all[c] = v
}

func (e *each[T]) get(c *lab.Cluster) T {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all[c]
}

// family is an address family of the lab.
type family struct {
	name, server string
	pod          func(*lab.Pod) string
}

func families() []family {
	return []family{
		{"IPv4", lab.ServerAddr, func(p *lab.Pod) string { return p.Addr }},
		{"IPv6", lab.ServerAddr6, func(p *lab.Pod) string { return p.Addr6 }},
	}
}

const webPort = "8080"

// listen makes a listener in a namespace that lives as long as the test.
func listen(t testing.TB, ns *lab.NS, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	ns.Do(func() {
		var err error
		if l, err = net.Listen("tcp", net.JoinHostPort(addr, webPort)); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects from a namespace; it returns nil if that is refused.
func dial(t testing.TB, ns *lab.NS, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	ns.Do(func() {
		if conn, err := net.DialTimeout("tcp", net.JoinHostPort(addr, webPort), 10*time.Second); err == nil {
			c = conn
		}
	})
	if c != nil {
		t.Cleanup(func() { c.Close() })
	}
	return c
}

// serve accepts connections and hands them to what handle is at the time.
func serve(l net.Listener, handle func() func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go handle()(c)
	}
}

// readAll takes all that the peer sends and closes.
func readAll(c net.Conn) {
	_, _ = io.Copy(io.Discard, c) // ends with whatever ended the connection
	lab.Close(c)
}

// badServer is a scenario of a client in the pod and a server that handles connections badly.
func badServer(name, want string, f family, bad func(net.Conn)) lab.Scenario {
	var handlers each[func(net.Conn)]
	return lab.Scenario{
		Name: name + " " + f.name,
		Args: []string{"reset"},
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			handlers.put(c, readAll)
			go serve(listen(t, c.Server, f.server), func() func(net.Conn) { return handlers.get(c) })
		},
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { handlers.put(c, bad) },
		Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
			c := dial(t, p.NS, f.server)
			_, _ = c.Write(make([]byte, 1000)) // may meet the reset
			_ = c.SetReadDeadline(time.Now().Add(patience))
			_, _ = io.Copy(io.Discard, c) // it waits for an answer, and closes only then
			_ = c.(*net.TCPConn).CloseWrite()
		},
		Want: want,
		Sure: "certain",
	}
}

func resetScenarios(f family) []lab.Scenario {
	hasty := badServer("a server closes with data unread", "reset-by-application", f, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 10))
		lab.Close(c)
	})
	hasty.Proof = "990 bytes received and not read"
	return []lab.Scenario{
		refused(f),
		hasty,
		badServer("a server closes with linger 0", "reset-by-application", f, func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 1000))
			_ = c.(*net.TCPConn).SetLinger(0)
			lab.Close(c)
		}),
		killed(f),
		forgotten(f),
		queueFull(f),
		bufferFull(f),
	}
}

func TestResetScenarios(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range families() {
		all = slices.Concat(all, resetScenarios(f), rejectScenarios(f), forgeryScenarios(f))
	}
	lab.RunAll(t, all)
}

// refused is a server that is not there.
func refused(f family) lab.Scenario {
	var listeners each[net.Listener]
	return lab.Scenario{
		Name: "nothing listens " + f.name,
		Args: []string{"reset"},
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			l := listen(t, c.Server, f.server)
			listeners.put(c, l)
			go serve(l, func() func(net.Conn) { return readAll })
		},
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { lab.Close(listeners.get(c)) },
		Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
			for range 4 {
				dial(t, p.NS, f.server)
				time.Sleep(patience) // that it goes on makes it more than a restart
			}
		},
		Want: "connection-refused",
		Sure: "certain",
	}
}

// killed is a client process beyond the node that dies by SIGKILL with data unread; the pod is the server.
func killed(f family) lab.Scenario {
	var signals each[syscall.Signal]
	return lab.Scenario{
		Name:  "a process is killed with a connection open " + f.name,
		Args:  []string{"reset"},
		Setup: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { signals.put(c, syscall.SIGTERM) },
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { signals.put(c, syscall.SIGKILL) },
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			l := listen(t, p.NS, f.pod(p))
			client := c.Server.Start("bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%s; echo hello >&3; read -u 4 4<>/dev/ptmx", f.pod(p), webPort))
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer lab.Close(conn)
			_, _ = io.ReadFull(conn, make([]byte, len("hello\n")))
			_, _ = conn.Write([]byte("an answer that nobody reads"))
			awaitAcknowledged(t, conn)
			if err := syscall.Kill(-client.Process.Pid, signals.get(c)); err != nil {
				t.Fatal(err)
			}
			readAll(conn)
		},
		Want: "reset-by-application",
		Sure: "certain",
	}
}

// awaitAcknowledged waits until the peer's kernel has all that was written.
func awaitAcknowledged(t testing.TB, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		var unsent int
		if err := raw.Control(func(fd uintptr) { unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
			t.Fatal(err)
		}
		if unsent == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the peer acknowledges nothing")
		}
		time.Sleep(time.Millisecond) // the queue has no wait of its own
	}
}

// forgotten is a server's end of a connection that vanishes without a word, as in a restart of its machine.
func forgotten(f family) lab.Scenario {
	var lost each[bool]
	return lab.Scenario{
		Name:  "the server forgot the connection " + f.name,
		Args:  []string{"reset"},
		Setup: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { lost.put(c, false) },
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { lost.put(c, true) },
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			l := listen(t, c.Server, f.server)
			client := dial(t, p.NS, f.server)
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if lost.get(c) {
				vanish(t, server)
			} else {
				go readAll(server)
			}
			_, _ = client.Write([]byte("are you there?"))
			_ = client.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, client)
		},
		Want: "reset-stale-connection",
		Sure: "certain",
	}
}

// vanish ends a connection without a segment to the other end: a socket in repair mode closes silently.
func vanish(t testing.TB, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) }); err != nil || set != nil {
		t.Fatal(err, set)
	}
	lab.Close(c)
}

// queueFull is a server in the pod that does not accept.
func queueFull(f family) lab.Scenario {
	var backlogs each[int]
	return lab.Scenario{
		Name:  "a server does not accept " + f.name,
		Args:  []string{"reset"},
		Setup: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { backlogs.put(c, 100) },
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { backlogs.put(c, 1) },
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			l := listen(t, p.NS, f.pod(p))
			setBacklog(t, l, backlogs.get(c))
			c.Server.Do(func() {
				for range 5 {
					conn, err := net.DialTimeout("tcp", net.JoinHostPort(f.pod(p), webPort), 100*time.Millisecond)
					if err == nil {
						t.Cleanup(func() { conn.Close() })
					}
				}
			})
		},
		Want: "accept-queue-full",
		Sure: "certain",
	}
}

// setBacklog changes how many connections may wait for accept.
func setBacklog(t testing.TB, l net.Listener, n int) {
	t.Helper()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.Listen(int(fd), n) }); err != nil || set != nil {
		t.Fatal(err, set)
	}
}

// bufferFull is a server in the pod that does not read its datagrams.
func bufferFull(f family) lab.Scenario {
	var datagrams each[int]
	return lab.Scenario{
		Name:  "a server does not read " + f.name,
		Args:  []string{"reset"},
		Setup: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { datagrams.put(c, 10) },
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { datagrams.put(c, 2000) },
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			addr := net.JoinHostPort(f.pod(p), webPort)
			p.Do(func() {
				l, err := net.ListenPacket("udp", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
			})
			c.Server.Do(func() {
				conn, err := net.Dial("udp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer lab.Close(conn)
				for range datagrams.get(c) {
					if _, err := conn.Write(make([]byte, 1000)); err != nil {
						t.Fatal(err)
					}
				}
			})
		},
		Want: "socket-buffer-full",
		Sure: "certain",
	}
}

// rejectScenarios are rules that answer with a reset.
func rejectScenarios(f family) []lab.Scenario {
	var all []lab.Scenario
	for _, r := range []struct{ name, v4, v6 string }{
		{"nft", "", ""},
		{"iptables-legacy", "iptables-legacy", "ip6tables-legacy"},
		{"iptables-nft", "iptables-nft", "ip6tables-nft"},
	} {
		tool := r.v4
		if strings.Contains(f.server, ":") {
			tool = r.v6
		}
		all = append(all, lab.Scenario{
			Name: "a rule of " + r.name + " rejects with a reset " + f.name,
			Args: []string{"reset"},
			Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
				go serve(listen(t, c.Server, f.server), func() func(net.Conn) { return readAll })
			},
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				if tool == "" {
					c.Node.Run("nft", "add table inet lab; add chain inet lab forward { type filter hook forward priority 0; }; "+
						"add rule inet lab forward tcp dport "+webPort+" counter reject with tcp reset")
					return
				}
				c.Node.Run(tool, "-A", "FORWARD", "-p", "tcp", "--dport", webPort, "-j", "REJECT", "--reject-with", "tcp-reset")
			},
			Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { dial(t, p.NS, f.server) },
			Want:    "reset-by-firewall",
			Proof:   "rule in " + map[bool]string{true: "nftables", false: r.name}[tool == ""],
		})
	}
	return all
}

// TestResetNamesTheRuleThatRejects: those that answer by ICMP, in the view of those that reset.
func TestResetNamesTheRuleThatRejects(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		udp := lab.Scenario{
			Name: "nft forward reject of UDP", Want: "netfilter-reject", Sure: "certain", Proof: "c: udp dport 9",
			Fault: onNode(nftRule("forward", "udp dport 9 counter reject with icmpx admin-prohibited")...),
			Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) { echoUDP(t, c.Server, "9") },
			Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
				ask(t, p.NS, net.JoinHostPort(f.server, "9"))
			},
		}
		for _, s := range append(firewalls(f), udp) {
			if s.Want != "netfilter-reject" || strings.HasSuffix(s.Name, "reset") {
				continue
			}
			s.Name, s.Args = f.name+" "+s.Name, []string{"reset"}
			if s.Setup == nil {
				s.Setup = web
			}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestResetShowsWhoRefuses: every refusal is one row, with its sender and cause, whether by reset or by ICMP.
func TestResetShowsWhoRefuses(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		rule := func(args ...string) step { return onNode(append([]string{f.iptables, "-A", "FORWARD"}, args...)...) }
		for _, c := range []struct {
			name, sender, cause, proto string
			fault                      step
		}{
			{"a rule, by reset", "firewall", "rejected", "tcp", rule("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")},
			{"a rule, by ICMP", "firewall", "rejected", "tcp", rule("-p", "tcp", "-j", "REJECT")},
			{"a rule, a datagram", "firewall", "rejected", "udp", rule("-p", "udp", "-j", "REJECT")},
			{"the server's host", "kernel", "refused", "tcp", nil},
			{"the server's host, a datagram", "kernel", "refused", "udp", nil},
			{"a router", "kernel", "unreachable", "tcp", func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Node, "route add unreachable "+f.server+f.bits())
			}},
		} {
			t.Run(f.name+" "+c.name, func(t *testing.T) {
				t.Parallel()
				net1 := lab.NewCluster(t)
				p := net1.AddPod("pod")
				p.Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits for seconds
				if c.fault != nil {
					c.fault(t, net1, p)
				}
				run := lab.Ktrace(t, "reset", "--netns", p.Path())
				if to := net.JoinHostPort(f.server, "9"); c.proto == "udp" {
					ask(t, p.NS, to)
				} else {
					fetch(p.NS, to, patience)
				}
				rows := lab.Events(run.Stop(), "reset")
				if len(rows) != 1 {
					t.Fatalf("%d rows, want one: %s", len(rows), rows)
				}
				var row struct {
					Reset struct{ Sender, Cause string }
				}
				rows[0].Into(t, &row)
				if row.Reset.Sender != c.sender || row.Reset.Cause != c.cause {
					t.Errorf("%s %s, want %s %s\n%s", row.Reset.Sender, row.Reset.Cause, c.sender, c.cause, rows[0].Raw)
				}
			})
		}
	}
}

// echoUDP answers datagrams with what they hold.
func echoUDP(t testing.TB, ns *lab.NS, port string) {
	t.Helper()
	bindUDP(t, ns, port)
}

// bindUDP is echoUDP, and returns what to close for its end.
func bindUDP(t testing.TB, ns *lab.NS, port string) (conn net.PacketConn) {
	t.Helper()
	ns.Do(func() {
		var err error
		if conn, err = net.ListenPacket("udp", "[::]:"+port); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 64)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = conn.WriteTo(buf[:n], from)
			}
		}()
	})
	return conn
}

// ask sends a datagram and waits for the answer, or for the error.
func ask(t testing.TB, ns *lab.NS, addr string) {
	t.Helper()
	ns.Do(func() {
		c, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer lab.Close(c)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("hello")); err == nil {
			_, _ = c.Read(make([]byte, 5))
		}
	})
}
