// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// TestDiagnoseReportsNoConsequences: what else happens to the packets, or first, on account of the fault is no cause.
func TestDiagnoseReportsNoConsequences(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		shop := map[string]string{"ip": "10.96.7.7", "ip -6": "fd00:96::77"}[f.ip] // which only the rules have
		toShop := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { fetch(p.NS, net.JoinHostPort(shop, "80"), patience) }
		twoPorts := func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			echoTCP(t, c.Server, "8080")
			f.kube(c.Node, "shop", "tcp", shop, net.JoinHostPort(f.server, "8080"))
			f.kube(c.Node, "other", "udp", shop, net.JoinHostPort(f.server, "8080"))
		}
		refused := func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			f.noRule(c.Node)
			c.Node.Run(f.iptables, "-N", "KUBE-SERVICES")
			c.Node.Run(f.iptables, "-A", "FORWARD", "-j", "KUBE-SERVICES")
			c.Node.Run(f.iptables, "-A", "KUBE-SERVICES", "-d", shop, "-p", "tcp", "-m", "comment", "--comment",
				"default/shop:http has no endpoints", "-m", "tcp", "--dport", "80", "-j", "REJECT")
			f.do(c.Node, "route del default")
		}
		tooBig := map[string]string{"ip": "-p icmp --icmp-type fragmentation-needed", "ip -6": "-p ipv6-icmp --icmpv6-type packet-too-big"}[f.ip]
		for _, s := range []lab.Scenario{
			{Name: "next host drops what nothing translated", Want: "service-dnat-miss", Sure: "certain", Proof: "according to iptables",
				Setup: twoPorts, Traffic: toShop, Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { f.noRule(c.Node) }},
			{Name: "no way to a service that has no endpoints", Want: "service-no-endpoints", Sure: "certain", Proof: "has no endpoints",
				Setup: twoPorts, Traffic: toShop, Fault: refused},
			{Name: "segments are too big and a rule takes the answer", Want: "netfilter-drop", Sure: "certain", Proof: "the ICMP error: MTU 1300 at",
				Setup: f.behind, Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.upload(p) }, Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
					c.Node.IP("link set uplink mtu 1300")
					c.Node.Run("sh", "-c", f.iptables+" -A OUTPUT "+tooBig+" -j DROP")
				}},
		} {
			s.Name, s.Args = f.name+" "+s.Name, []string{"diagnose", "--duration", "6s"}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestDiagnoseTakesNoServerForAService: a pod may ask a server itself though it searches the cluster's domains, and the
// answers show that nothing had to be translated, so that what is lost later has another cause. Nor is a packet lost that was
// sent to find the way.
func TestDiagnoseTakesNoServerForAService(t *testing.T) {
	t.Parallel()
	for _, f := range dnsFamilies() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			p.ResolvConf("search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver " + f.server + "\noptions ndots:1\n")
			serveDNS(t, c.Server, net.JoinHostPort(f.server, "53"), wellServed)
			p.Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits for seconds
			run := lab.Ktrace(t, "diagnose", "--duration", "3s", "--netns", p.Path())
			resolves("web.default.svc.cluster.local")(t, c, p)
			pingFrom(p.NS, f.server, "-t1")
			lines, status := run.Wait()
			if found := lab.Findings(lines); status != 0 || len(found) > 0 {
				t.Errorf("status %d, claims %s", status, found)
			}
			run = lab.Ktrace(t, "diagnose", "--duration", "5s", "--netns", p.Path())
			resolves("web.default.svc.cluster.local")(t, c, p)
			c.Server.Run(f.iptables, "-A", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP")
			lookup(p, f.server, "web.default.svc.cluster.local")
			again, _ := run.Wait()
			if found := lab.Findings(again); len(found) != 1 || !strings.Contains(string(found[0].Raw), `"netfilter-drop"`) {
				t.Errorf("claims %s of a server that is filtered", found)
			}
			if s := lab.Summary(t, lines); !strings.Contains(string(s.Raw), `"answered"`) {
				t.Errorf("nothing was answered: %s", s.Raw)
			}
		})
	}
}

// TestDropNamesRulesBeneathIP: of a bridge, and of a device.
func TestDropNamesRulesBeneathIP(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		setup := func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			f.bridge(t, c, p)
			echoTCP(t, c.Namespace("other"), "80")
		}
		traffic := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			fetch(p.NS, net.JoinHostPort(f.sub(p, "3"), "80"), patience)
		}
		for hook, chain := range map[string]string{
			"forward of a bridge": "add table bridge lab; add chain bridge lab c { type filter hook forward priority filter; }; add rule bridge lab c tcp dport 80 counter drop",
			"ingress of a device": "add table netdev lab; add chain netdev lab c { type filter hook ingress device port1 priority 0; }; add rule netdev lab c tcp dport 80 counter drop",
		} {
			all = append(all, lab.Scenario{Name: f.name + " " + hook, Args: []string{"drop"}, Want: "netfilter-drop", Sure: "certain",
				Proof: "lab c: tcp dport 80 counter", Setup: setup, Traffic: traffic, Fault: onNode("nft", chain)})
		}
	}
	lab.RunAll(t, all)
}
