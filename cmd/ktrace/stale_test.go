// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// recycled gives a service's old backend, beyond, to a host that does something else; a flow from port 40000 was made before.
func (f stack) recycled(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	f.do(c.Server, "addr add "+f.beyond+f.bits()+" dev eth0 nodad")
	echoTCP(t, c.Server, "8080")
	f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.server, "8080"))
}

// connect connects to the service from a port that stays the same.
func (f stack) connect(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
	p.Do(func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: 40000}, Timeout: patience}
		if c, err := dialAgain(d, "tcp", net.JoinHostPort(f.service(), "80")); err == nil {
			_ = c.(*net.TCPConn).SetLinger(0) // the port is free at once
			c.Close()
		}
	})
}

// connectAmongOthers connects so, and then from ports that are free: these are translated as they should be.
func (f stack) connectAmongOthers(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	f.connect(t, c, p)
	for range 12 {
		fetch(p.NS, net.JoinHostPort(f.service(), "80"), patience)
	}
}

// endpoint replaces the one endpoint of the service's rules.
func (f stack) endpoint(iptables string, node *lab.NS, to string) {
	node.Run(iptables, "-t", "nat", "-R", "KUBE-SEP-web", "1", "-p", "tcp", "-m", "comment", "--comment", "default/web:http", "-m", "tcp", "-j", "DNAT", "--to-destination", to)
}

// TestDiagnoseComparesBackendsWithEndpoints: whatever becomes of the packets.
func TestDiagnoseComparesBackendsWithEndpoints(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		old := net.JoinHostPort(f.beyond, "8080")
		// made has a flow that conntrack sends to the old backend for ever, and that nothing answered yet.
		made := func(refuses bool) func(testing.TB, *lab.Cluster, *lab.Pod) {
			return func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				to := old
				if refuses {
					to = net.JoinHostPort(f.beyond, "9")
				}
				f.endpoint(f.iptables, c.Node, to)
				c.Server.Run(f.iptables, "-A", "INPUT", "-d", f.beyond, "-p", "tcp", "-j", "DROP")
				f.connect(t, c, p)
				c.Server.Run(f.iptables, "-F", "INPUT")
				f.endpoint(f.iptables, c.Node, net.JoinHostPort(f.server, "8080"))
			}
		}
		both := func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { f.writeNFT(c.Node, f.nftService(old)) }
		for _, s := range []lab.Scenario{
			{Name: "another host has its address and refuses, while others are served", Proof: "endpoints are now", Fault: made(true), Traffic: f.connectAmongOthers},
			{Name: "another host has its address and answers", Proof: "answers", Fault: made(false), Traffic: f.connect},
			{Name: "rules of two systems", Proof: "nftables translates", Fault: both, Traffic: f.toService},
		} {
			s.Name, s.Args = f.name+" "+s.Name, []string{"diagnose", "--duration", "6s"}
			s.Setup, s.Want, s.Sure = f.recycled, "service-stale-endpoint", "certain"
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestDiagnoseIsSilentWhenEndpointsChange: a flow of datagrams goes on to an endpoint that leaves, and new flows to the
// one that comes.
func TestDiagnoseIsSilentWhenEndpointsChange(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			f.datagrams(t, c, p)
			run := lab.Ktrace(t, "diagnose", "--duration", "6s", "--netns", p.Path())
			f.datagram(t, c, p)
			left := time.Now()
			c.Node.Run(f.iptables, "-t", "nat", "-R", "KUBE-SEP-old", "1", "-p", "udp", "-m", "udp", "-j", "DNAT", "--to-destination", net.JoinHostPort(f.server, "9"))
			for range 20 {
				if time.Since(left) < 3*time.Second { // what goes there for longer is not on its way to its end
					f.datagram(t, c, p)
				}
			}
			lines, status := run.Wait()
			for _, l := range lab.Findings(lines) {
				if !strings.Contains(string(l.Raw), `"severity":"info"`) {
					t.Errorf("status %d, claims %s", status, l.Raw)
				}
			}
		})
	}
}
