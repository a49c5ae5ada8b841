// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// service is the address that kubeadm gives to DNS; here it is a web server's.
func (f stack) service() string {
	if f.ip == "ip" {
		return lab.ServiceDNS
	}
	return lab.ServiceDNS6
}

// kube writes rules as kube-proxy does for one service with one endpoint.
func (f stack) kube(node *lab.NS, name, proto, addr, endpoint string) {
	svc, sep, comment := "KUBE-SVC-"+name, "KUBE-SEP-"+name, "default/"+name+":http"
	nat := func(args ...string) { node.Run(append([]string{f.iptables, "-t", "nat"}, args...)...) }
	if _, err := node.Try(f.iptables, "-t", "nat", "-N", "KUBE-SERVICES"); err == nil {
		nat("-A", "PREROUTING", "-j", "KUBE-SERVICES")
		nat("-A", "OUTPUT", "-j", "KUBE-SERVICES")
	}
	nat("-N", svc)
	nat("-N", sep)
	nat("-A", "KUBE-SERVICES", "-d", addr, "-p", proto, "-m", "comment", "--comment", comment+" cluster IP", "-m", proto, "--dport", "80", "-j", svc)
	nat("-A", svc, "-m", "comment", "--comment", comment+" -> "+endpoint, "-j", sep)
	nat("-A", sep, "-p", proto, "-m", "comment", "--comment", comment, "-m", proto, "-j", "DNAT", "--to-destination", endpoint)
}

// web makes the service work.
func (f stack) web(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	echoTCP(t, c.Server, "8080")
	f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.server, "8080"))
	f.kube(c.Node, "other", "udp", f.service(), net.JoinHostPort(f.server, "8080"))
}

// noRule takes the service's rule away.
func (f stack) noRule(node *lab.NS) {
	node.Run(f.iptables, "-t", "nat", "-D", "KUBE-SERVICES", "1")
}

func (f stack) toService(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
	fetch(p.NS, net.JoinHostPort(f.service(), "80"), patience)
}

// serviceFaults are those of service translation.
func serviceFaults(f stack) []lab.Scenario {
	return []lab.Scenario{
		{
			Name: "rule missing", Want: "service-dnat-miss", Sure: "certain", Proof: "have rules", Setup: f.web, Traffic: f.toService,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { f.noRule(c.Node) },
		},
		{
			Name: "no rules at all", Want: "kube-proxy-rules-missing", Sure: "certain", Setup: f.web, Traffic: f.toService,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				c.Node.Run(f.iptables, "-t", "nat", "-F")
				c.Node.Run(f.iptables, "-t", "nat", "-X")
			},
		},
		{
			Name: "no endpoints", Want: "service-no-endpoints", Sure: "certain", Proof: "default/web:http has no endpoints", Setup: f.web, Traffic: f.toService,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.noRule(c.Node)
				c.Node.Run(f.iptables, "-N", "KUBE-SERVICES")
				c.Node.Run(f.iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "KUBE-SERVICES")
				c.Node.Run(f.iptables, "-A", "KUBE-SERVICES", "-d", f.service(), "-p", "tcp", "-m", "comment", "--comment",
					"default/web:http has no endpoints", "-m", "tcp", "--dport", "80", "-j", "REJECT")
			},
		},
		{
			Name: "stale endpoint", Want: "service-stale-endpoint", Sure: "certain", Setup: f.datagrams, Traffic: f.datagram,
			Fault: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.datagram(t, c, p) // conntrack has an entry from now on
				f.do(c.Server, "addr del "+f.beyond+f.bits()+" dev eth0")
				c.Node.Run(f.iptables, "-t", "nat", "-R", "KUBE-SEP-old", "1", "-p", "udp", "-m", "udp", "-j", "DNAT",
					"--to-destination", net.JoinHostPort(f.server, "9"))
				f.do(c.Node, "neigh flush all")
			},
		},
		{
			Name: "answers bridged past conntrack", Want: "service-reply-not-untranslated", Sure: "certain", Proof: "expected from", Setup: f.bridged, Traffic: f.toService,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				c.Node.Sysctl("net/bridge/bridge-nf-call-"+f.iptables, "0")
			},
		},
	}
}

// datagrams makes a service whose endpoint answers datagrams at an address that can go away.
func (f stack) datagrams(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	f.do(c.Server, "addr add "+f.beyond+f.bits()+" dev eth0 nodad")
	f.quickNeighbours(c)
	f.kube(c.Node, "old", "udp", f.service(), net.JoinHostPort(f.beyond, "9"))
	echoUDP(t, c.Server, "9")
}

// datagram asks the service from a port that stays the same.
func (f stack) datagram(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
	p.Do(func() {
		d := net.Dialer{LocalAddr: &net.UDPAddr{Port: 40000}}
		c, err := dialAgain(d, "udp", net.JoinHostPort(f.service(), "80"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("hello")); err == nil {
			_, _ = c.Read(make([]byte, 5))
		}
	})
}

// bridged makes a service whose endpoint is on the client's own bridge.
func (f stack) bridged(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	f.bridge(t, c, p)
	prefix := map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]
	c.Node.IP("addr add " + f.sub(p, "1") + prefix + " dev br0 nodad")
	c.Node.Sysctl("net/ipv4/conf/all/send_redirects", "0")
	c.Node.Sysctl("net/ipv4/conf/br0/send_redirects", "0")
	p.Sysctl("net/ipv6/conf/net1/accept_redirects", "0")
	c.Node.Sysctl("net/bridge/bridge-nf-call-"+f.iptables, "1")
	f.do(p.NS, "route add "+f.service()+f.bits()+" via "+f.sub(p, "1"))
	echoTCP(t, c.Namespace("other"), "80")
	f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.sub(p, "3"), "80"))
}

// conntrackFaults are those of connection tracking.
func conntrackFaults(f stack) []lab.Scenario {
	track := func(c *lab.Cluster, state, verdict string) {
		c.Node.Run(f.iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", state, "-j", verdict)
	}
	toServer := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
		fetch(p.NS, net.JoinHostPort(f.server, "80"), patience)
	}
	strict := func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
		c.Node.Sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")
	}
	return []lab.Scenario{
		{
			Name: "table full", Want: "conntrack-full", Sure: "certain", Traffic: toServer, Fault: fillConntrack,
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				web(t, c, p)
				track(c, "ESTABLISHED", "ACCEPT")
				track(c, "INVALID", "DROP") // as kube-proxy has it, and no packet meets it
			},
		},
		{
			Name: "entry lost", Want: "conntrack-invalid", Proof: "INVALID", Traffic: f.interrupted, Fault: strict,
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				web(t, c, p)
				track(c, "INVALID", "DROP")
			},
		},
		{
			Name: "entry lost, by a map of states", Want: "conntrack-invalid", Sure: "likely", Proof: "invalid : drop", Traffic: f.interrupted, Fault: strict,
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				web(t, c, p)
				c.Node.Run(nftRule("forward", "ct state vmap { established : accept, related : accept, invalid : drop }")...)
			},
		},
	}
}

// interrupted goes on with a connection that conntrack has forgotten meanwhile.
func (f stack) interrupted(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	p.Do(func() {
		conn, err := net.Dial("tcp", net.JoinHostPort(f.server, "80"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for i := range 2 {
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := conn.Write([]byte("hello")); err == nil {
				_, _ = conn.Read(make([]byte, 5))
			}
			if i == 0 {
				c.Node.Run("conntrack", "-F")
			}
		}
	})
}

// race makes two packets of one flow be on their way at once: a queue on the node holds the SYN up until it is sent
// again, so that each has an entry of its own when both go on.
func race(f stack) lab.Scenario {
	const number = 7
	var queues sync.Map // of the clusters that have one
	return lab.Scenario{
		Name: "two packets of a new flow", Want: "conntrack-insert-race", Setup: web,
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
			c.Node.Run(f.iptables+"-legacy", "-t", "mangle", "-A", "FORWARD", "-p", "tcp", "--syn", "-j", "NFQUEUE", "--queue-num", strconv.Itoa(number))
			c.Node.Run(f.iptables+"-legacy", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
			queues.Store(c, c.Node.Queue(number))
		},
		Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				fetch(p.NS, net.JoinHostPort(f.server, "80"), 5*time.Second)
			}()
			if q, ok := queues.Load(c); ok {
				q.(*lab.Queue).Await(2)
				q.(*lab.Queue).Release()
			}
			<-done
		},
	}
}

// fillConntrack makes as many entries as the table holds. They are assured, so that none makes room for another.
func fillConntrack(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	limit := 0
	if _, err := fmt.Sscan(c.Node.Run("cat", "/proc/sys/net/netfilter/nf_conntrack_max"), &limit); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range limit + 1000 {
		port, host := i%65535+1, i/65535+1
		fmt.Fprintf(&b, "-A -t 300 -u SEEN_REPLY,ASSURED -s 10.66.0.%d -d 10.66.1.1 -r 10.66.1.1 -q 10.66.0.%d -p udp --sport %d --dport 9 --reply-port-src 9 --reply-port-dst %d\n",
			host, host, port, port)
	}
	file := filepath.Join(t.TempDir(), "entries")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Node.Try("conntrack", "-R", file) // ends with the error that it is full
}

// TestNATNamesPacketsThatRace runs where packets that a queue held up do race.
func TestNATNamesPacketsThatRace(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			s := race(f)
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			s.Setup(t, c, p)
			s.Fault(t, c, p)
			s.Traffic(t, c, p)
			if c.Node.InsertFailed() == 0 {
				t.Skip("this kernel lets packets of a queue share an entry")
			}
			s.Args = []string{"nat"}
			s.Run(t)
		})
	}
}

func TestNATNamesWhatIsWrongWithServices(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range append(serviceFaults(f), conntrackFaults(f)...) {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"nat", "--service-cidr", map[string]string{"ip": "10.96.0.0/12", "ip -6": "fd00:96::/112"}[f.ip]}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
