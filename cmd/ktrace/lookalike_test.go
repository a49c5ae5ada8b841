// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// TestDiagnoseTellsLookalikesApart: faults that look like another, and have another cause.
func TestDiagnoseTellsLookalikesApart(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, f.smallTTL(), f.unboundPort(), f.unhandled())
	}
	all = append(all, stacks()[0].localOnly(), stacks()[1].unsolicited())
	for i := range all {
		all[i].Args = []string{"diagnose", "--duration", "6s"}
	}
	lab.RunAll(t, all)
}

// toServer fetches from the server's host.
func (f stack) toServer(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
	fetch(p.NS, net.JoinHostPort(f.server, "80"), 1500*time.Millisecond)
}

// smallTTL is a metadata service that answers the node alone: no routing loop.
func (f stack) smallTTL() lab.Scenario {
	target := map[string][]string{"ip": {"TTL", "--ttl-set", "1"}, "ip -6": {"HL", "--hl-set", "1"}}[f.ip]
	return lab.Scenario{
		Name: f.name + " a TTL of 1", Want: "ttl-exceeded", Sure: "likely", Title: "arrive with TTL 1",
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) { echoTCP(t, c.Server, "80") },
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
			c.Server.Run(append([]string{f.iptables, "-t", "mangle", "-A", "POSTROUTING", "-p", "tcp", "--sport", "80", "-j"}, target...)...)
		},
		Traffic: f.toServer,
	}
}

// unboundPort is a server of datagrams on this machine that has ended: its kernel says so, and no other rule.
func (f stack) unboundPort() lab.Scenario {
	var servers each[net.PacketConn]
	return lab.Scenario{
		Name: f.name + " a port that nothing listens on", Want: "icmp-unreachable", Sure: "certain", Title: "nothing listens on udp port 9",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			f.behind(t, c, p)
			servers.put(c, bindUDP(t, c.Server, "9"))
		},
		Fault:   func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { servers.get(c).Close() },
		Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { f.twice(t, p, "9") },
	}
}

// unhandled is a rule that gives connections to a proxy which does not run.
func (f stack) unhandled() lab.Scenario {
	return lab.Scenario{
		Name: f.name + " a proxy that does not run", Want: "netfilter-drop", Proof: "-j TPROXY",
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) { echoTCP(t, c.Server, "80") },
		Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
			c.Node.Run(f.iptables, "-t", "mangle", "-A", "PREROUTING", "-i", p.Veth, "-p", "tcp", "--dport", "80", "-j", "TPROXY", "--on-port", "15006", "--tproxy-mark", "1")
		},
		Traffic: f.toServer,
	}
}

// localOnly is a port of the node that a rule translates to a loopback address: no spoofed packet.
func (f stack) localOnly() lab.Scenario {
	set := func(c *lab.Cluster, p *lab.Pod, value string) {
		c.Node.Sysctl("net/ipv4/conf/"+p.Veth+"/route_localnet", value)
	}
	return lab.Scenario{
		Name: "route_localnet is off", Want: "martian-source", Sure: "certain", Title: "route_localnet is off",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			echoTCP(t, c.Node, "81")
			c.Node.Run(f.iptables, "-t", "nat", "-A", "PREROUTING", "-i", p.Veth, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", "127.0.0.1:81")
			set(c, p, "1")
		},
		Fault:   func(_ testing.TB, c *lab.Cluster, p *lab.Pod) { set(c, p, "0") },
		Traffic: f.toServer,
	}
}

// unsolicited is a node whose filter takes neighbour discovery, which its writer did not think of: it is not down.
func (f stack) unsolicited() lab.Scenario {
	return lab.Scenario{
		Name: "neighbour discovery is filtered", Want: "netfilter-drop", Sure: "certain", Proof: "-P INPUT DROP",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			echoTCP(t, c.Server, "80")
			p.Sysctl("net/ipv6/neigh/eth0/retrans_time_ms", "100")
		},
		Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
			c.Node.Run(f.iptables, "-P", "INPUT", "DROP")
			p.IP("-6 neigh flush dev eth0")
		},
		Traffic: f.toServer,
	}
}
