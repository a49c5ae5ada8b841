// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// TestAnOverlapOfRangesIsNamed: docker0 with a range that pods, or services, have, too. Healthy, it has another.
func TestAnOverlapOfRangesIsNamed(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		elsewhere := map[string]string{"ip": "172.17.0.1/16", "ip -6": "fd00:17::1/64"}[f.ip]
		ofServices := map[string]string{"ip": "10.96.0.1/24", "ip -6": "fd00:96::1/120"}[f.ip]
		longer := map[string]string{"ip": "/25", "ip -6": "/96"}[f.ip]
		narrower := func(p *lab.Pod) string { return strings.TrimSuffix(f.addr(p), "2") + "4" + longer }
		docker := func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
			c.Node.IP("link add docker0 type bridge", "link set docker0 up")
			c.Veth(lab.End{NS: c.Namespace("container"), Name: "eth0"}, lab.End{NS: c.Node, Name: "port1"})
			c.Node.IP("link set port1 master docker0")
			f.do(c.Node, "addr add "+elsewhere+" dev docker0 nodad")
			c.Node.Sysctl("net/"+map[string]string{"ip": "ipv4", "ip -6": "ipv6"}[f.ip]+"/neigh/docker0/retrans_time_ms", "100")
		}
		for _, s := range []lab.Scenario{{
			Name: "pods", Want: "neighbour-failed", Title: "go to docker0, where no machine has that address: its range ", Proof: longer + " on docker0 wins: its range ",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				echoTCP(t, p.NS, "80")
				docker(t, c, p)
			},
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.do(c.Node, "addr del "+elsewhere+" dev docker0", "addr add "+narrower(p)+" dev docker0 nodad")
			},
			Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				fetch(c.Server, net.JoinHostPort(f.addr(p), "80"), 4*patience)
			},
		}, {
			Name: "services", Want: "service-dnat-miss", Proof: " on docker0 wins: its range ",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.web(t, c, p)
				docker(t, c, p)
			},
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.noRule(c.Node)
				f.do(c.Node, "addr del "+elsewhere+" dev docker0", "addr add "+ofServices+" dev docker0 nodad")
			},
			Traffic: f.toService,
		}} {
			s.Name, s.Args, s.Sure = f.name+" "+s.Name, []string{"diagnose", "--duration", "6s"}, "certain"
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
