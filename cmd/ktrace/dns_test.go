// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/testdata/lab"
)

// dnsAnswer is what every name has, for A.
var dnsAnswer = [4]byte{192, 0, 2, 1}

// serveDNS answers queries at an address of the namespace by what answer makes of them, until stop is called or the test
// ends; nil is no answer.
func serveDNS(t testing.TB, ns *lab.NS, addr string, answer func(*dnsmessage.Message) bool) (stop func()) {
	t.Helper()
	return ns.ServeUDP(addr, func(at net.PacketConn, from net.Addr, query []byte) {
		reply := replyDNS(t, query, answer)
		if reply == nil {
			return
		}
		if _, err := at.WriteTo(reply, from); err != nil {
			t.Error(err)
		}
	})
}

func replyDNS(t testing.TB, query []byte, answer func(*dnsmessage.Message) bool) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		t.Error(err)
		return nil
	}
	m.Response, m.Additionals = true, nil
	if !answer(&m) {
		return nil
	}
	reply, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return reply
}

// wellServed: every name has an address, but those that begin with "no-".
func wellServed(m *dnsmessage.Message) bool {
	q := m.Questions[0]
	if strings.HasPrefix(q.Name.String(), "no-") {
		m.RCode = dnsmessage.RCodeNameError
		return true
	}
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
		Body:   &dnsmessage.AResource{A: dnsAnswer},
	}}
	return true
}

func servedFailure(m *dnsmessage.Message) bool {
	m.RCode = dnsmessage.RCodeServerFailure
	return true
}

func notServed(*dnsmessage.Message) bool { return false }

// lookup asks once for each name, one after the other, and does not mind if nothing answers.
func lookup(p *lab.Pod, server string, names ...string) {
	args := []string{"dig", "+tries=1", "+time=3"}
	for _, name := range names {
		args = append(args, "@"+server, name, "A")
	}
	_, _ = p.Try(args...)
}

// lookups asks for each name by a program of its own, unless the kernel is emulated, where one takes a second to start.
func lookups(p *lab.Pod, server string, names []string) {
	size := 1
	if testing.Short() {
		size = len(names)
	}
	for some := range slices.Chunk(names, size) {
		lookup(p, server, some...)
	}
}

// dnsFamily is one family's addresses and tools.
type dnsFamily struct{ name, iptables, service, server string }

func dnsFamilies() []dnsFamily { return dnsFamiliesAt(0) }

// dnsFamiliesAt are those of a lab.NewClusterAt.
func dnsFamiliesAt(network int) []dnsFamily {
	server, server6 := lab.ServerAt(network)
	return []dnsFamily{
		{"IPv4", "iptables", lab.ServiceDNS, server},
		{"IPv6", "ip6tables", lab.ServiceDNS6, server6},
	}
}

// The networks between node and server of tests that watch the node: a network each for those that may run at one time.
const (
	networkOfClosedPorts = 1 + iota*8
	networkOfNodeLookups
	networkOfNodeQueries
	networkOfNodePods
	networkOfLoss
	networkOfConnects = networkOfLoss + 16
)

// The server's ports, by how it serves there.
const (
	portWell   = "5353"
	portClosed = "5354"
	portQuiet  = "5355"
	portFails  = "5356"
)

func (f dnsFamily) backend(port string) string { return net.JoinHostPort(f.server, port) }

// translate is the rule that kube-proxy would have written: add with -A, remove with -D.
func (f dnsFamily) translate(node *lab.NS, op, port string) {
	node.Run(f.iptables, "-t", "nat", op, "PREROUTING", "-p", "udp", "-d", f.service, "--dport", "53", "-j", "DNAT",
		"--to-destination", f.backend(port))
}

// retranslate sends the service's queries to another port of the server.
func (f dnsFamily) retranslate(port string) func(testing.TB, *lab.Cluster, *lab.Pod) {
	return func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
		f.translate(c.Node, "-D", portWell)
		f.translate(c.Node, "-A", port)
	}
}

// cluster makes the pod's resolv.conf kubelet's, and the service work.
func (f dnsFamily) cluster(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	p.ResolvConf("search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver " + f.service + "\noptions ndots:5\n")
	f.translate(c.Node, "-A", portWell)
	serveDNS(t, c.Server, f.backend(portWell), wellServed)
	serveDNS(t, c.Server, f.backend(portQuiet), notServed)
	serveDNS(t, c.Server, f.backend(portFails), servedFailure)
	p.Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits for seconds
}

// dnsLine is what the tests check of an event.
type dnsLine struct {
	Netns   uint32 `json:"netns"`
	Process struct {
		PID  int    `json:"pid"`
		Comm string `json:"comm"`
	} `json:"process"`
	DNS struct {
		Name      string         `json:"qname"`
		Type      string         `json:"qtype"`
		Rcode     string         `json:"rcode"`
		Server    netip.AddrPort `json:"server"`
		Backend   netip.AddrPort `json:"backend"`
		LatencyNS int64          `json:"latency_ns"`
		Attempts  int            `json:"attempts"`
		Outcome   string         `json:"outcome"`
		Answers   []string       `json:"answers"`
	} `json:"dns"`
}

func TestDNSCountsOnePodsQueriesExactly(t *testing.T) {
	t.Parallel()
	for i, family := range dnsFamilies() {
		for j, variant := range []string{"tp_btf", "raw_tp"} {
			if testing.Short() && i != j { // where a kernel is emulated
				continue
			}
			t.Run(family.name+" "+variant, func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				one, other := c.AddPod("one"), c.AddPod("other")
				family.cluster(t, c, one)
				run := lab.Ktrace(t, "dns", "--netns", one.Path(), "--variant", variant, "--slow", "30s")
				const mine, others = 23, 19
				var beside sync.WaitGroup
				beside.Go(func() { lookups(other, family.service, slices.Repeat([]string{"other.example.org"}, others)) })
				lookups(one, family.service, slices.Repeat([]string{"mine.example.org", "no-such.example.org"}, mine)[:mine])
				beside.Wait()
				lines := run.Stop()
				events := lab.Events(lines, "dns")
				if len(events) != mine {
					t.Fatalf("%d transactions, want %d", len(events), mine)
				}
				for i, l := range events {
					var e dnsLine
					l.Into(t, &e)
					checkAnswer(t, e, family, i)
				}
				if found := lab.Findings(lines); len(found) > 0 {
					t.Errorf("a healthy service has findings: %s", found[0].Raw)
				}
			})
		}
	}
}

func checkAnswer(t *testing.T, e dnsLine, family dnsFamily, i int) {
	t.Helper()
	d := e.DNS
	wantRcode, wantAnswers := "NOERROR", 1
	if i%2 == 1 {
		wantRcode, wantAnswers = "NXDOMAIN", 0
	}
	switch {
	case d.Outcome != "answered" || d.Rcode != wantRcode || len(d.Answers) != wantAnswers || d.Type != "A" || d.Attempts != 1:
	case d.Server.String() != net.JoinHostPort(family.service, "53") || d.Backend.String() != family.backend(portWell):
	case d.LatencyNS <= 0 || d.LatencyNS > int64(30e9):
	case e.Process.PID == 0 || e.Process.Comm != "dig": // not its thread, isc-net-0000
	default:
		return
	}
	t.Errorf("query %d: %+v", i, e)
}

func TestDNSNamesTheCause(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		for _, s := range []lab.Scenario{
			{
				Name: "rule removed, the only one", Want: "kube-proxy-rules-missing", Sure: "likely",
				Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { f.translate(c.Node, "-D", portWell) },
			},
			{
				Name: "no endpoints", Want: "service-no-endpoints", Sure: "certain",
				Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
					f.translate(c.Node, "-D", portWell)
					c.Node.Run(f.iptables, "-A", "FORWARD", "-d", f.service, "-p", "udp", "--dport", "53", "-m", "comment",
						"--comment", "kube-system/kube-dns:dns has no endpoints", "-j", "REJECT")
				},
			},
			{Name: "server stopped", Want: "dns-server-refused", Sure: "certain", Fault: f.retranslate(portClosed)},
			{Name: "server hangs", Want: "dns-no-response", Sure: "certain", Fault: f.retranslate(portQuiet)},
			{Name: "server fails", Want: "dns-servfail", Sure: "certain", Fault: f.retranslate(portFails)},
			{
				Name: "dropped by nft in forward", Want: "netfilter-drop", Sure: "certain",
				Fault: nftForward("udp dport 5353 drop"),
			},
			{
				Name: "answer dropped by nft in forward", Want: "netfilter-drop", Sure: "certain",
				Fault: nftForward("udp sport 5353 drop"),
			},
			{
				Name: "rejected by nft in forward", Want: "netfilter-reject", Sure: "certain",
				Fault: nftForward("udp dport 5353 reject with icmpx admin-prohibited"),
			},
			{
				Name: "dropped by iptables in the pod's own output", Want: "netfilter-drop", Sure: "certain",
				Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
					p.Run(f.iptables, "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-j", "DROP")
				},
			},
		} {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"dns", "--wait", "2s", "--slow", "30s"}
			s.Setup = f.cluster
			s.Traffic = func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.service, "web.example.org") }
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// nftForward adds a rule to what the node passes on.
func nftForward(rule string) func(testing.TB, *lab.Cluster, *lab.Pod) {
	return func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
		c.Node.Run("nft", "add table inet lab; add chain inet lab f { type filter hook forward priority 0; }; add rule inet lab f "+rule)
	}
}
