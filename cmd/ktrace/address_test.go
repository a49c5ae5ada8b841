// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// addr is the pod's address in the family.
func (f stack) addr(p *lab.Pod) string {
	if f.ip == "ip" {
		return p.Addr
	}
	return p.Addr6
}

// lose removes the pod's address.
func (f stack) lose(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
	f.do(p.NS, "addr del "+f.addr(p)+map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]+" dev eth0")
}

// TestAPodThatLostItsAddressIsNoRouter: every pod's namespace passes nothing on, and that is not why what still arrives
// there is dropped.
func TestAPodThatLostItsAddressIsNoRouter(t *testing.T) {
	t.Parallel()
	const mac = "02:00:00:00:13:16"
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"diagnose", "--duration", "6s"},
			Want: "no-route", Sure: "certain", Proof: "takes the address for one on the link",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				p.IP("link set eth0 address " + mac)
				f.do(c.Node, "neigh replace "+f.addr(p)+" lladdr "+mac+" nud permanent dev "+p.Veth)
				echoTCP(t, p.NS, "80")
			},
			Fault: f.lose,
			Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				fetch(c.Server, net.JoinHostPort(f.addr(p), "80"), patience)
			},
		})
	}
	lab.RunAll(t, all)
}

// TestANeighbourThatLostItsAddressIsNamed: its namespace is asked which addresses it has.
func TestANeighbourThatLostItsAddressIsNamed(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			version := map[string]string{"ip": "ipv4", "ip -6": "ipv6"}[f.ip]
			c.Node.Sysctl("net/"+version+"/neigh/"+p.Veth+"/retrans_time_ms", "100")
			f.lose(t, c, p)
			run := lab.Ktrace(t, "drop", "host "+f.addr(p)) // which is no pod's any more
			fetch(c.Server, net.JoinHostPort(f.addr(p), "80"), patience)
			run.AwaitFinding("neighbour-failed")
			for _, l := range lab.Findings(run.Stop()) {
				var found struct{ Title, Confidence string }
				if l.Into(t, &found); !strings.Contains(found.Title, fmt.Sprintf("is on no device of netns %d", p.Inode())) || found.Confidence != "certain" {
					t.Errorf("%s: %s", found.Confidence, found.Title)
				}
			}
		})
	}
}
