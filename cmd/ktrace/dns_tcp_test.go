// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/testdata/lab"
)

// serveDNSOverTCP takes connections at an address of the namespace, and answers each query by what answer makes of it; nil
// is no answer. hear, if it is not nil, is asked after each query whether the connection is to go on.
func serveDNSOverTCP(t testing.TB, ns *lab.NS, addr string, answer func(*dnsmessage.Message) bool, hear func(*net.TCPConn) bool) {
	t.Helper()
	ns.ServeTCP(addr, func(conn *net.TCPConn) {
		for from := bufio.NewReader(conn); ; {
			query, err := readFramed(from)
			if err != nil || hear != nil && !hear(conn) {
				return
			}
			if reply := replyDNS(t, query, answer); reply != nil {
				if _, err := conn.Write(framed(reply)); err != nil {
					return
				}
			}
		}
	})
}

// framed is messages behind their lengths, as they go over TCP.
func framed(messages ...[]byte) []byte {
	var b []byte
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

func readFramed(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	m := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, m)
	return m, err
}

// overTCP is cluster with TCP beside UDP. An answer over UDP never fits.
func (f dnsFamily) overTCP(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	p.ResolvConf("search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver " + f.service + "\noptions ndots:5\n")
	f.retranslateTCP("-A", portWell)(t, c, p)
	f.translate(c.Node, "-A", portTooLong)
	serveDNS(t, c.Server, f.backend(portTooLong), servedTooLong)
	serveDNSOverTCP(t, c.Server, f.backend(portWell), wellServed, nil)
	serveDNSOverTCP(t, c.Server, f.backend(portQuiet), notServed, nil)
	serveDNSOverTCP(t, c.Server, f.backend(portFails), servedFailure, nil)
	serveDNSOverTCP(t, c.Server, f.backend(portRefuses), wellServed, func(*net.TCPConn) bool { return false })
	serveDNSOverTCP(t, c.Server, f.backend(portEmpty), wellServed, func(conn *net.TCPConn) bool {
		_ = conn.SetLinger(0)
		return false
	})
	p.Run("ping", "-c1", "-W20", f.server)
	p.Start("sleep", "infinity") // a pod has a process whose resolv.conf can be read when the client has ended
}

// retranslateTCP sends the service's connections to a port of the server, or no longer.
func (f dnsFamily) retranslateTCP(op, port string) func(testing.TB, *lab.Cluster, *lab.Pod) {
	return func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
		for _, chain := range []string{"PREROUTING", "OUTPUT"} {
			c.Node.Run(f.iptables, "-t", "nat", op, chain, "-p", "tcp", "-d", f.service, "--dport", "53", "-j", "DNAT",
				"--to-destination", f.backend(port))
		}
	}
}

// movedTCP sends them elsewhere than to where they are served well.
func (f dnsFamily) movedTCP(port string) func(testing.TB, *lab.Cluster, *lab.Pod) {
	return func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
		f.retranslateTCP("-D", portWell)(t, c, p)
		f.retranslateTCP("-A", port)(t, c, p)
	}
}

// askPipelined asks n names at a time over one connection, whose first bytes are cut anywhere, and takes the answers.
func askPipelined(t testing.TB, ns *lab.NS, addr string, n int) {
	t.Helper()
	ns.Do(func() {
		conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var all []byte
		for i := range n {
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i), RecursionDesired: true}, Questions: []dnsmessage.Question{
				{Name: dnsmessage.MustNewName(fmt.Sprintf("name-%d.example.org.", i)), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, framed(b)...)
		}
		for _, part := range [][]byte{all[:1], all[1:2], all[2:50], all[50:]} { // TCP_NODELAY is Go's default
			if _, err := conn.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		for from := bufio.NewReader(conn); n > 0; n-- {
			if _, err := readFramed(from); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// tcpLine is what the tests check beside dnsLine.
type tcpLine struct {
	dnsLine
	DNS struct {
		Name, Transport, Rcode, Outcome, Server, Backend string
		QName                                            string `json:"qname"`
		Latency                                          int64  `json:"latency_ns"`
		Attempts                                         int
		Retry                                            bool `json:"after_truncated"`
	} `json:"dns"`
}

func TestDNSCountsQueriesOverTCPExactly(t *testing.T) {
	t.Parallel()
	const n = 23
	for i, f := range dnsFamilies() {
		for _, way := range []struct {
			name, comm string
			network    int
			cut        int // answers over UDP
			ask        func(t testing.TB, ns *lab.NS)
			watch      func(c *lab.Cluster, p *lab.Pod) (from *lab.NS, args []string) // nil: the pod
		}{
			{"dig +tcp", "dig", 0, 0, f.digs(n, "+tcp"), nil},
			{"dig, cut over UDP", "dig", 0, n, f.digs(n, "+bufsize=512"), nil},
			{"pipelined", "", 0, 0, func(t testing.TB, ns *lab.NS) { askPipelined(t, ns, net.JoinHostPort(f.service, "53"), n) }, nil},
			{"both sockets report", "dig", 0, 0, f.digs(n, "+tcp"), func(_ *lab.Cluster, p *lab.Pod) (*lab.NS, []string) {
				return p.NS, []string{"host", map[string]string{"IPv4": p.Addr, "IPv6": p.Addr6}[f.name]}
			}},
			{"from the host network", "dig", networkOfNodeQueries + i, 0, f.digs(n, "+tcp"), func(c *lab.Cluster, _ *lab.Pod) (*lab.NS, []string) {
				return c.Node, []string{"--netns", c.Node.Path()}
			}},
		} {
			t.Run(f.name+" "+way.name, func(t *testing.T) {
				t.Parallel()
				f := dnsFamiliesAt(way.network)[i]
				c := lab.NewClusterAt(t, way.network)
				one, other := c.AddPod("one"), c.AddPod("other")
				f.overTCP(t, c, one)
				from, which := one.NS, []string{"--netns", one.Path()}
				if way.watch != nil {
					from, which = way.watch(c, one)
				}
				file := filepath.Join(t.TempDir(), "run.pcapng")
				run := lab.Ktrace(t, slices.Concat([]string{"dns", "--slow", "30s", "-w", file}, which)...)
				way.ask(t, from)
				f.digs(3, "+tcp")(t, other.NS)
				lines := run.Stop()
				f.checkTCP(t, lines, n, way.cut, way.comm)
				again, _, _ := lab.Read(t, append([]string{file, "dns", "--slow", "30s"}, which...)...)
				f.checkTCP(t, again, n, way.cut, way.comm)
			})
		}
	}
}

// digs asks for so many names, one after the other.
func (f dnsFamily) digs(n int, args ...string) func(testing.TB, *lab.NS) {
	return func(_ testing.TB, ns *lab.NS) {
		all := []string{"dig", "+tries=1", "+time=5"}
		for i := range n {
			all = append(append(all, "@"+f.service, fmt.Sprintf("name-%d.example.org", i), "A"), args...)
		}
		_, _ = ns.Try(all...)
	}
}

// checkTCP wants n queries over TCP, each answered by the backend, and as many cut answers before.
func (f dnsFamily) checkTCP(t *testing.T, lines []lab.Line, n, cut int, comm string) {
	t.Helper()
	names := map[string]bool{}
	over := map[string]int{}
	for _, l := range lab.Events(lines, "dns") {
		var e tcpLine
		l.Into(t, &e)
		over[e.DNS.Transport+" "+e.DNS.Outcome]++
		if e.DNS.Transport != "tcp" {
			continue
		}
		names[e.DNS.QName] = true
		if e.DNS.Server != net.JoinHostPort(f.service, "53") || e.DNS.Backend != f.backend(portWell) || e.DNS.Rcode != "NOERROR" ||
			e.DNS.Latency <= 0 || e.DNS.Retry != (cut > 0) || e.Process.PID == 0 || comm != "" && e.Process.Comm != comm {
			t.Errorf("got %s", l.Raw)
		}
	}
	if over["tcp answered"] != n || over["udp truncated"] != cut || len(names) != n || len(over) != 1+min(cut, 1) {
		t.Errorf("got %v of %d names, want %d answered over TCP, %d truncated before", over, len(names), n, cut)
	}
	if found := lab.Findings(lines); len(found) > 0 {
		t.Errorf("a healthy service has findings: %s", found[0].Raw)
	}
	var sum struct {
		DNS struct {
			Queries  uint64
			Outcomes map[string]uint64
			Retried  uint64 `json:"answered_after_truncated"`
			Pending  uint64
			Unseen   uint64
		}
		Seen, Shown, Filtered uint64
		Lost                  map[string]uint64
	}
	lab.Summary(t, lines).Into(t, &sum)
	lost := uint64(0)
	for _, l := range sum.Lost {
		lost += l
	}
	if sum.DNS.Queries != uint64(n+cut) || sum.DNS.Outcomes["answered"] != uint64(n) || sum.DNS.Retried != uint64(cut) ||
		sum.DNS.Pending+sum.DNS.Unseen != 0 || sum.Shown != uint64(n+cut) || sum.Seen != sum.Shown+sum.Filtered+lost {
		text, _ := json.Marshal(sum)
		t.Errorf("the accounts say %s", text)
	}
}

func TestDNSOverTCPNamesTheCause(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		for _, s := range []lab.Scenario{
			{Name: "rule removed, the only one", Want: "kube-proxy-rules-missing", Fault: f.retranslateTCP("-D", portWell)},
			{Name: "server stopped", Want: "dns-server-refused", Sure: "certain", Fault: f.movedTCP(portClosed)},
			{Name: "server hangs", Want: "dns-no-response", Sure: "certain", Fault: f.movedTCP(portQuiet)},
			{Name: "server fails", Want: "dns-servfail", Sure: "certain", Fault: f.movedTCP(portFails)},
			{Name: "server closes", Want: "dns-no-response", Sure: "certain", Proof: "the server closed the connection", Fault: f.movedTCP(portRefuses)},
			{Name: "server resets", Want: "dns-no-response", Sure: "certain", Proof: "the server reset the connection", Fault: f.movedTCP(portEmpty)},
			{Name: "connections dropped by nft in forward", Want: "netfilter-drop", Sure: "certain", Fault: nftForward("tcp dport 5353 drop")},
			{Name: "queries dropped by nft in forward", Want: "netfilter-drop", Sure: "certain", Fault: nftForward("tcp dport 5353 tcp flags & psh == psh drop")},
			{Name: "answers dropped by nft in forward", Want: "netfilter-drop", Sure: "certain", Fault: nftForward("tcp sport 5353 tcp flags & psh == psh drop")},
			{Name: "rejected by nft in forward", Want: "netfilter-reject", Sure: "certain", Fault: nftForward("tcp dport 5353 reject with tcp reset")},
		} {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"dns", "--wait", "2s", "--slow", "30s"}
			s.Setup = f.overTCP
			s.Traffic = func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				_, _ = p.Try("dig", "+tcp", "+tries=1", "+time=3", "@"+f.service, "web.example.org", "A")
			}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

func TestDiagnoseNamesWhatIsWrongWithDNSOverTCP(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		for _, s := range []lab.Scenario{
			{Name: "server stopped", Want: "dns-server-refused", Fault: f.movedTCP(portClosed)},
			{Name: "server hangs", Want: "dns-no-response", Fault: f.movedTCP(portQuiet)},
			{Name: "server resets", Want: "reset-by-application", Grave: true, Title: "ktrace.test", Proof: "the server reset the connection", Fault: f.movedTCP(portEmpty)},
			{Name: "queries dropped by nft in forward", Want: "netfilter-drop", Fault: nftForward("tcp dport 5353 tcp flags & psh == psh drop")},
		} {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"diagnose", "--duration", "6s"}
			s.Setup = f.overTCP
			s.Traffic = func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				_, _ = p.Try("dig", "+tcp", "+tries=1", "+time=6", "@"+f.service, "web.example.org", "A")
			}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
