// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"sync"
	"testing"

	"ktrace/testdata/lab"
)

// gateway is an address of the pod's network that no host has.
func (f stack) gateway(p *lab.Pod) string {
	if f.ip == "ip" {
		return strings.TrimSuffix(p.Addr, "2") + "99"
	}
	return strings.TrimSuffix(p.Addr6, "2") + "99"
}

// cacheDown is a node with a DNS cache of its own that is down. The node has the address that pods ask at, be it the DNS
// service's.
func cacheDown(f dnsFamily, addr string) lab.Scenario {
	var caches sync.Map // by cluster: how to stop its
	return lab.Scenario{
		Name: "a cache of the node is down, asked at " + addr, Want: "dns-server-refused", Sure: "certain", Proof: "the address is one of its own",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			f.kubeDNS(c.Node)
			p.ResolvConf(clusterNames + "nameserver " + addr + "\n")
			bits := map[bool]string{true: "/32", false: "/128"}[f.iptables == "iptables"]
			c.Node.IP("addr add " + addr + bits + " dev lo nodad")
			for _, rule := range []string{"PREROUTING -p udp --dport 53 -d ", "OUTPUT -p udp --dport 53 -d ", "OUTPUT -p udp --sport 53 -s "} {
				c.Node.Run("sh", "-c", f.iptables+" -t raw -A "+rule+addr+" -j NOTRACK")
			}
			caches.Store(c, serveDNS(t, c.Node, net.JoinHostPort(addr, "53"), wellServed))
		},
		Fault: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			if stop, ok := caches.Load(c); ok {
				stop.(func())()
			}
		},
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, addr, "web.default.svc.cluster.local") },
	}
}

// TestNothingIsUntranslatedThatNeverReachedTheRules: a packet that dies in its pod, or that is for the node itself. All
// rules are there.
func TestNothingIsUntranslatedThatNeverReachedTheRules(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for i, f := range stacks() {
		d := dnsFamilies()[i]
		local := map[string]string{"IPv4": "169.254.20.10", "IPv6": "fd00:20::10"}[f.name]
		lost := lab.Scenario{
			Name: "the pod's gateway does not answer", Want: "neighbour-failed", Sure: "certain", Proof: "the route: ", Setup: d.cluster,
			Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				f.do(p.NS, "route replace default via "+f.gateway(p)+" dev eth0")
			},
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, d.service, "web.example.org") },
		}
		verbs := []string{"diagnose --duration 6s", "dns --wait 2s --slow 30s", "diagnose --duration 6s"}
		for j, s := range []lab.Scenario{cacheDown(d, d.service), cacheDown(d, local), lost} {
			s.Name, s.Args = f.name+" "+s.Name, strings.Fields(verbs[j])
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestDiagnoseTakesNoServerOutsideForAService: a pod may ask a server of the network instead of the cluster's, whose rules
// and services are known, and search its domains all the same. That one is no service's and not to be translated; be it down,
// that is all there is to say.
func TestDiagnoseTakesNoServerOutsideForAService(t *testing.T) {
	t.Parallel()
	for _, f := range dnsFamilies() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			f.kubeDNS(c.Node)
			p.ResolvConf(clusterNames + "nameserver " + f.server + "\n")
			stop := serveDNS(t, c.Server, net.JoinHostPort(f.server, "53"), wellServed)
			p.Start("sleep", "infinity")
			p.Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits for seconds
			run := lab.Ktrace(t, "diagnose", "--duration", "4s", "--netns", p.Path())
			lookup(p, f.server, "one.example.org", "two.example.org")
			lines, status := run.Wait()
			if found := lab.Findings(lines); status != 0 || len(found) > 0 {
				t.Errorf("status %d, claims %s", status, found)
			}
			stop()
			c.Server.Run(f.iptables, "-A", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP")
			run = lab.Ktrace(t, "dns", "--wait", "2s", "--netns", p.Path())
			lookup(p, f.server, "three.example.org")
			run.AwaitFinding("netfilter-drop")
			if found := lab.Findings(run.Stop()); len(found) != 1 {
				t.Errorf("claims %s of a server that is filtered", found)
			}
		})
	}
}
