// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
	"ktrace/tracer/netns"
	"ktrace/tracer/procfs"
)

// listenAt in the environment makes the test binary a process that listens there and does not accept.
const listenAt = "NODE_TEST_LISTEN"

func TestMain(m *testing.M) {
	if addr := os.Getenv(listenAt); addr != "" {
		if _, err := net.Listen("tcp", addr); err != nil {
			panic(err)
		}
		time.Sleep(time.Hour) // the lab kills it
	}
	os.Exit(m.Run())
}

func observe(t testing.TB) *Reader {
	t.Helper()
	return New(netns.NewFinder(procfs.New("/")))
}

// index is the number of a device.
func index(t testing.TB, ns *lab.NS, device string) (n uint32) {
	t.Helper()
	ns.Do(func() {
		i, err := net.InterfaceByName(device)
		if err != nil {
			t.Fatal(err)
		}
		n = uint32(i.Index)
	})
	return n
}

// question is about a packet in a namespace.
func question(ns *lab.NS, proto, src, dst string) event.LookupKey {
	return event.LookupKey{Netns: ns.Inode(), Proto: proto, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

// understood fails if a fact says that something could not be read.
func understood(t testing.TB, facts []event.Fact) {
	t.Helper()
	for _, f := range facts {
		if f.LookupFailed != nil {
			t.Errorf("not read: %+v", *f.LookupFailed)
		}
	}
}

func TestRoutesAreThoseOfTheNamespaceOfThePacket(t *testing.T) {
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	in := index(t, c.Node, pod.Veth)
	c.Node.IP("route add unreachable 10.77.0.0/24")
	c.Node.IP("route add prohibit 10.78.0.0/24")
	c.Node.IP("route add blackhole 10.79.0.0/24")
	for name, k := range map[string]struct {
		ns               *lab.NS
		src, dst         string
		in               uint32
		errno, kind, out string
	}{
		"a packet to the server leaves by the uplink": {c.Node, pod.Addr, lab.ServerAddr, in, "", "unicast", "uplink"},
		"of IPv6 as well":                                  {c.Node, pod.Addr6, lab.ServerAddr6, in, "", "unicast", "uplink"},
		"a packet to the node stays":                       {c.Node, pod.Addr, lab.UplinkAddr, in, "", "local", "lo"},
		"an unreachable route is an errno":                 {c.Node, pod.Addr, "10.77.0.1", in, "EHOSTUNREACH", "", ""},
		"a prohibiting route is an errno":                  {c.Node, pod.Addr, "10.78.0.1", in, "EACCES", "", ""},
		"a black hole is an errno":                         {c.Node, pod.Addr, "10.79.0.1", in, "EINVAL", "", ""},
		"what the pod itself sends leaves by its only way": {pod.NS, pod.Addr, lab.ServerAddr, 0, "", "unicast", "eth0"},
		"the server has no way beyond":                     {c.Server, lab.ServerAddr, lab.ServiceDNS, 0, "ENETUNREACH", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := question(k.ns, "udp", net.JoinHostPort(k.src, "40000"), net.JoinHostPort(k.dst, "53"))
			facts := observe(t).Routes(q, k.in)
			understood(t, facts)
			if len(facts) == 0 || facts[0].Route == nil {
				t.Fatalf("no route among %+v", facts)
			}
			r := *facts[0].Route
			if r.Errno != k.errno || r.Type != k.kind || r.Out != k.out || r.About != q {
				t.Errorf("got %+v, want %q %q %q", r, k.errno, k.kind, k.out)
			}
		})
	}
}

func TestAReverseRouteThatLeadsElsewhereIsReported(t *testing.T) {
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	c.Node.Sysctl("net/ipv4/conf/all/rp_filter", "1")
	c.Node.Sysctl("net/ipv4/conf/"+pod.Veth+"/rp_filter", "1")
	q := question(c.Node, "udp", "10.9.0.77:40000", lab.ServerAddr+":53") // an address of the uplink's network
	o := observe(t)
	facts := o.Routes(q, index(t, c.Node, pod.Veth))
	understood(t, facts)
	if len(facts) != 2 || !slices.Contains([]string{"EXDEV", "EINVAL"}, facts[0].Route.Errno) || !facts[1].Route.Reverse || facts[1].Route.Out != "uplink" {
		for _, f := range facts {
			t.Errorf("got %s, want EXDEV or EINVAL and a way back by the uplink", f.Summary())
		}
	}
	facts = o.Sysctls(c.Node.Inode(), index(t, c.Node, pod.Veth))
	understood(t, facts)
	want := event.Sysctl{Netns: c.Node.Inode(), Key: "net.ipv4.conf." + pod.Veth + ".rp_filter", Value: "1"}
	for _, f := range facts {
		if *f.Sysctl == want {
			return
		}
	}
	t.Errorf("got %+v, want %+v among them", facts, want)
}

func TestSysctlsAreThoseOfTheNamespace(t *testing.T) {
	c := lab.NewCluster(t)
	for ns, want := range map[*lab.NS]string{c.Node: "1", c.Server: "0"} {
		found := ""
		for _, f := range observe(t).Sysctls(ns.Inode(), 0) {
			if f.Sysctl != nil && f.Sysctl.Key == "net.ipv4.ip_forward" {
				found = f.Sysctl.Value
			}
		}
		if found != want {
			t.Errorf("%s: ip_forward is %q, want %q", ns.Name, found, want)
		}
	}
}

func TestANeighbourThatDoesNotAnswerIsReported(t *testing.T) {
	c := lab.NewCluster(t)
	for addr, want := range map[string]string{"10.9.0.99": "failed", lab.ServerAddr: "permanent", "10.9.0.98": "none"} {
		out := index(t, c.Node, "uplink")
		switch want {
		case "permanent":
			c.Node.IP("neigh replace " + addr + " lladdr 02:00:00:00:00:01 nud permanent dev uplink")
		case "failed":
			c.Node.IP("neigh replace " + addr + " nud failed dev uplink")
		}
		facts := observe(t).Neighbour(question(c.Node, "udp", lab.UplinkAddr+":1", addr+":53"), out)
		understood(t, facts)
		if n := facts[len(facts)-1].Neighbour; n == nil || n.State != want || n.Iface != "uplink" || n.Addr.String() != addr {
			t.Errorf("%s: got %+v, want %s", addr, n, want)
		}
	}
}

// echo answers datagrams at an address of the server until the test ends.
func echo(t *testing.T, ns *lab.NS, addr string) {
	t.Helper()
	ns.Do(func() {
		conn, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = conn.WriteTo(buf[:n], from) // who asked will notice
			}
		}()
	})
}

// send sends datagrams from a namespace and waits for each to come back if answered says that it will.
func send(t *testing.T, ns *lab.NS, addr string, n int, answered bool) (local netip.AddrPort) {
	t.Helper()
	ns.Do(func() {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		local = conn.LocalAddr().(*net.UDPAddr).AddrPort()
		buf := make([]byte, 2048)
		for range n {
			_, err := conn.Write([]byte("hello")) // fails if an ICMP came back for the one before
			if err == nil && answered {
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, err = conn.Read(buf)
			}
			if err != nil && answered {
				t.Fatal(err)
			}
		}
	})
	return local
}

func TestATranslatedFlowIsFoundByItsAnswer(t *testing.T) {
	for _, k := range []struct{ tool, service, backend string }{
		{"iptables", lab.ServiceDNS, lab.ServerAddr}, {"ip6tables", lab.ServiceDNS6, lab.ServerAddr6},
	} {
		t.Run(k.tool, func(t *testing.T) {
			c := lab.NewCluster(t)
			pod := c.AddPod("a")
			service, backend := net.JoinHostPort(k.service, "53"), net.JoinHostPort(k.backend, "5353")
			c.Node.Run(k.tool, "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-d", k.service, "--dport", "53", "-j", "DNAT", "--to-destination", backend)
			echo(t, c.Server, backend)
			o := observe(t)
			o.Conntrack(c.Node.Inode())
			from := send(t, pod.NS, service, 1, true)
			answer := packet.FlowTuple{Src: netip.MustParseAddrPort(backend), Dst: from}
			facts := o.Tracked(c.Node.Inode(), "udp", answer)
			understood(t, facts)
			got := facts[0].Tracked
			if !got.Found || got.Original.Dst.String() != service || got.Reply != answer || !strings.Contains(strings.Join(got.Status, " "), "dst-nat") {
				t.Errorf("got %+v, want the flow to %s", got, service)
			}
			answer.Dst = netip.AddrPortFrom(from.Addr(), from.Port()^1)
			if facts := o.Tracked(c.Node.Inode(), "udp", answer); facts[0].Tracked == nil || facts[0].Tracked.Found {
				t.Errorf("got %+v for a flow that never was", facts)
			}
			if got := o.Conntrack(c.Node.Inode())[0].Conntrack; got.Count == 0 || got.Max == 0 {
				t.Errorf("got %+v, want entries and a limit", got)
			}
		})
	}
}

func TestASocketIsFoundWithItsProcess(t *testing.T) {
	c := lab.NewCluster(t)
	echo(t, c.Server, lab.ServerAddr+":5353")
	var l net.Listener
	c.Server.Do(func() {
		var err error
		if l, err = net.Listen("tcp", "[::]:8080"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := c.Server.Start("env", listenAt+"="+lab.ServerAddr+":8081", exe)
	for name, k := range map[string]struct {
		proto, dst string
		found      bool
		state      string
		pid        int
	}{
		"a socket of UDP":                        {"udp", lab.ServerAddr + ":5353", true, "UNCONN", 0},
		"a listener to all addresses, by IPv4":   {"tcp", lab.ServerAddr + ":8080", true, "LISTEN", 0},
		"a listener to all addresses, by IPv6":   {"tcp", "[" + lab.ServerAddr6 + "]:8080", true, "LISTEN", 0},
		"a listener with a process of its own":   {"tcp", lab.ServerAddr + ":8081", true, "LISTEN", process.Process.Pid},
		"nothing at another port":                {"tcp", lab.ServerAddr + ":8082", false, "", 0},
		"nothing at the port by another address": {"tcp", "127.0.0.1:8081", false, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := observe(t)
			got := event.Socket{}
			for range 100 { // the process needs a moment until it listens
				facts := o.Socket(question(c.Server, k.proto, net.JoinHostPort(netip.MustParseAddrPort(k.dst).Addr().String(), "1"), k.dst), netip.MustParseAddrPort(k.dst))
				understood(t, facts)
				if got = *facts[0].Socket; got.Found == k.found {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if got.Found != k.found || got.State != k.state || (k.pid != 0 && int(got.PID) != k.pid) {
				t.Errorf("got %+v, want %v %q of %d", got, k.found, k.state, k.pid)
			}
			if got.Found && got.Limit == 0 {
				t.Errorf("got %+v, want a limit", got)
			}
		})
	}
}

func TestAnAcceptQueueThatOverflowsIsReportedWithItsListener(t *testing.T) {
	c := lab.NewCluster(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Server.Sysctl("net/core/somaxconn", "1")
	process := c.Server.Start("env", listenAt+"="+lab.ServerAddr+":8081", exe)
	o := observe(t)
	dst := netip.MustParseAddrPort(lab.ServerAddr + ":8081")
	for !o.Socket(question(c.Server, "tcp", lab.UplinkAddr+":1", dst.String()), dst)[0].Socket.Found {
		time.Sleep(10 * time.Millisecond) // the process needs a moment until it listens
	}
	understood(t, o.Baseline(c.Server.Inode()))
	c.Node.Do(func() {
		for range 5 { // more than the queue takes; those that find no room come again after 1 s
			if conn, err := (&net.Dialer{Timeout: 2 * time.Second}).Dial("tcp", lab.ServerAddr+":8081"); err == nil {
				defer conn.Close()
			}
		}
	})
	facts := o.Netstat(c.Server.Inode())
	understood(t, facts)
	if len(facts) != 2 || facts[0].Netstat.Rose["TcpExtListenOverflows"] == 0 || int(facts[1].Socket.PID) != process.Process.Pid ||
		facts[1].Socket.Queue <= facts[1].Socket.Limit {
		for _, f := range facts {
			t.Errorf("got %s", f.Summary())
		}
	}
}

func TestReadingMakesNoTables(t *testing.T) {
	ns := lab.New(t).Namespace("node")
	o := observe(t)
	understood(t, o.Baseline(ns.Inode()))
	ns.Do(func() {
		text, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 0 {
			t.Errorf("there are tables now that were not there before: %q", text)
		}
	})
	if out := ns.Run("nft", "list", "ruleset"); out != "" {
		t.Errorf("there are tables now that were not there before: %q", out)
	}
}

func TestANamespaceIsNotKeptFromGoing(t *testing.T) {
	o := observe(t)
	var inode uint32
	t.Run("while it is there", func(t *testing.T) {
		ns := lab.New(t).Namespace("node")
		inode = ns.Inode()
		understood(t, o.Baseline(inode))
	})
	file, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	names, err := file.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range names {
		if to, err := os.Readlink("/proc/self/fd/" + fd); err == nil && to == fmt.Sprintf("net:[%d]", inode) {
			t.Errorf("descriptor %s holds the namespace", fd)
		}
	}
	if facts := o.Sysctls(inode, 0); len(facts) != 1 || facts[0].LookupFailed == nil {
		t.Errorf("got %+v of a namespace that is gone", facts)
	}
}

func TestANamespaceThatIsGoneIsReported(t *testing.T) {
	facts := observe(t).Sysctls(1, 0)
	if len(facts) != 1 || facts[0].LookupFailed == nil || facts[0].LookupFailed.What != "sysctl" {
		t.Errorf("got %+v, want one fact that says so", facts)
	}
}

func TestCountersOfProtocolsAreParsed(t *testing.T) {
	var r netstatReader
	parse := func(icmp string) counters {
		c := r.parse(nil, []byte("TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 5\n"+icmp+"Tcp: MaxConn\nTcp: -1\n"))
		return r.parse(c, []byte("Ip6InNoRoutes                   \t7\n"))
	}
	before := parse("")
	if want := (counters{{"TcpExtSyncookiesSent", 3}, {"TcpExtListenOverflows", 5}, {"Ip6InNoRoutes", 7}}); !slices.Equal(before, want) {
		t.Errorf("got %v, want %v", before, want)
	}
	now := parse("IcmpMsg: InType3\nIcmpMsg: 2\n") // the first of its type
	if rose := now.rose(before); !maps.Equal(rose, map[string]uint64{"IcmpMsgInType3": 2}) {
		t.Errorf("%v rose, want one", rose)
	}
	before[1].n = 2
	if rose := parse("").rose(before); !maps.Equal(rose, map[string]uint64{"TcpExtListenOverflows": 3}) {
		t.Errorf("%v rose, want 3", rose)
	}
}

func TestCountersAreParsedWhereTheyChange(t *testing.T) {
	r := newNetstatReader()
	c := lab.New(t).Namespace("quiet")
	c.Do(func() {
		first, err := r.read(netstat{})
		again, errAgain := r.read(first)
		if err := errors.Join(err, errAgain); err != nil {
			t.Fatal(err)
		}
		if len(first.all) == 0 || &again.all[0] != &first.all[0] {
			t.Errorf("%d counters, parsed anew though nothing was sent", len(first.all))
		}
		conn, err := net.Dial("udp", "127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		now, err := r.read(again)
		if rose := now.all.rose(again.all); err != nil || rose["UdpOutDatagrams"] != 1 || rose["UdpNoPorts"] != 1 {
			t.Errorf("%v rose, error %v, want a datagram that was sent and had no port", rose, err)
		}
	})
}

// BenchmarkNetstat reads the counters of a namespace in which they change, and of one in which they do not.
func BenchmarkNetstat(b *testing.B) {
	for name, known := range map[string]bool{"changed": false, "same": true} {
		b.Run(name, func(b *testing.B) {
			r := newNetstatReader()
			before := netstat{}
			b.ReportAllocs()
			for b.Loop() {
				now, err := r.read(before)
				if err != nil {
					b.Fatal(err)
				}
				if known {
					before = now
				}
			}
		})
	}
}
