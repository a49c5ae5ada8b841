// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ktrace/testdata/lab"
)

// policied are the rules that a plugin makes of one network policy, which selects the pod, less those that only count, log
// or concern other pods. allow is what the policy allows: a rule of it lets pass what comes to port 80.
func (f stack) policied(plugin string, p *lab.Pod, allow bool) string {
	var rules string
	switch plugin {
	case "Calico":
		policy := `-A cali-pi-_4jmBLyQ -m comment --comment "cali:Hj8pQ" -m comment --comment "Policy shop/knp.default.deny-all ingress"`
		if allow {
			policy += " -p tcp -m multiport --destination-ports 80 -j MARK --set-xmark 0x10000/0x10000"
		}
		rules = `*filter
:cali-FORWARD - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-POD - [0:0]
:cali-pi-_4jmBLyQ - [0:0]
-I FORWARD -m comment --comment "cali:wUHhoiAY" -j cali-FORWARD
-A cali-FORWARD -m comment --comment "cali:vjrMJCRp" -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -o veth+ -m comment --comment "cali:S93hcgKJ" -j cali-to-wl-dispatch
-A cali-to-wl-dispatch -o POD -m comment --comment "cali:Fx__omIt" -g cali-tw-POD
-A cali-to-wl-dispatch -m comment --comment "cali:DrDwbw1w" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-POD -m comment --comment "cali:63AiEhcK" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-POD -m comment --comment "cali:U_uF6VQo" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-POD -m comment --comment "cali:11psZo1M" -j MARK --set-xmark 0x0/0x30000
-A cali-tw-POD -m comment --comment "cali:6lKycZxe" -m comment --comment "Start of tier default" -j MARK --set-xmark 0x0/0x20000
-A cali-tw-POD -m comment --comment "cali:cV0qHtGk" -m mark --mark 0x0/0x20000 -j cali-pi-_4jmBLyQ
-A cali-tw-POD -m comment --comment "cali:q_zG8dAu" -m comment --comment "Return if policy accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-POD -m comment --comment "cali:FUDVBYh1" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
` + policy
	case "kube-router":
		if allow {
			rules = `-A KUBE-NWPLCY-2AQPO27D -d ADDR -p tcp -m tcp --dport 80 -m comment --comment "rule to ACCEPT traffic from all sources to dest pods selected by policy name: deny-all namespace shop" -j MARK --set-xmark 0x10000/0x10000
-A KUBE-NWPLCY-2AQPO27D -m mark --mark 0x10000/0x10000 -j RETURN`
		}
		rules = `*filter
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-POD-FW-TT2IUJ4C - [0:0]
:KUBE-NWPLCY-2AQPO27D - [0:0]
-I FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A KUBE-ROUTER-FORWARD -d ADDR -m comment --comment "rule to jump traffic destined to POD name:web-0 namespace: shop to chain KUBE-POD-FW-TT2IUJ4C" -j KUBE-POD-FW-TT2IUJ4C
-A KUBE-POD-FW-TT2IUJ4C -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-POD-FW-TT2IUJ4C -m comment --comment "rule to drop invalid state for pod" -m conntrack --ctstate INVALID -j DROP
-A KUBE-POD-FW-TT2IUJ4C -d ADDR -m comment --comment "run through nw policy deny-all" -j KUBE-NWPLCY-2AQPO27D
-A KUBE-POD-FW-TT2IUJ4C -m comment --comment "rule to REJECT traffic destined for POD name:web-0 namespace: shop" -m mark ! --mark 0x10000/0x10000 -j REJECT
-A KUBE-POD-FW-TT2IUJ4C -j MARK --set-xmark 0x0/0x10000
-A KUBE-POD-FW-TT2IUJ4C -m comment --comment "set mark to ACCEPT traffic that comply to network policies" -j MARK --set-xmark 0x20000/0x20000
` + rules
	}
	return strings.NewReplacer("cali-tw-POD", "cali-tw-"+p.Veth, "-o POD", "-o "+p.Veth, "ADDR", f.addr(p)+f.bits()).Replace(rules) + "\nCOMMIT\n"
}

// restore adds rules to those of the node.
func (f stack) restore(c *lab.Cluster, rules string) {
	c.Node.Run("sh", "-c", f.iptables+"-nft-restore --noflush <<'END'\n"+rules+"END")
}

// TestDropNamesTheNetworkPolicy by the rules that a plugin makes of it. Healthy, the same policy allows the traffic.
func TestDropNamesTheNetworkPolicy(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range []struct{ plugin, id, proof string }{
			{"Calico", "netfilter-drop", "Drop if no policies passed packet"},
			{"kube-router", "netfilter-reject", "rule to REJECT traffic destined for POD name:web-0 namespace: shop"},
		} {
			all = append(all, lab.Scenario{
				Name: f.name + " " + s.plugin, Args: []string{"diagnose", "--duration", "6s"}, Want: s.id, Sure: "certain", Proof: s.proof,
				Title: "The network policy shop/deny-all (" + s.plugin + ") selects the pod", Remedy: "kubectl -n shop describe networkpolicy deny-all",
				Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
					echoTCP(t, p.NS, "80")
					f.restore(c, f.policied(s.plugin, p, true))
				},
				Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
					c.Node.Run(f.iptables+"-nft", "-F")
					c.Node.Run(f.iptables+"-nft", "-X")
					f.restore(c, f.policied(s.plugin, p, false))
				},
				Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
					fetch(c.Server, net.JoinHostPort(f.addr(p), "80"), patience)
				},
			})
		}
	}
	lab.RunAll(t, all)
}

// inNFTables is a pod's chain as kube-router has it for nftables, and the policy's, which allows port 80 until it is flushed.
func (f stack) inNFTables(p *lab.Pod) string {
	family := map[string]string{"ip": "ip", "ip -6": "ip6"}[f.ip]
	return strings.NewReplacer("TABLE", family+" "+f.routerTable(), "DADDR", family+" daddr "+f.addr(p)).Replace(`
add table TABLE
add chain TABLE KUBE-ROUTER-FORWARD { type filter hook forward priority 0; }
add chain TABLE KUBE-POD-FW-TT2IUJ4C { comment "pod firewall chain for shop/web-0"; }
add chain TABLE KUBE-NWPLCY-2AQPO27D
add chain TABLE KUBE-NWPLCY-COMMON
add rule TABLE KUBE-ROUTER-FORWARD DADDR counter jump KUBE-POD-FW-TT2IUJ4C comment "jump traffic to POD name:web-0 ns: shop to chain KUBE-POD-FW-TT2IUJ4C"
add rule TABLE KUBE-NWPLCY-COMMON ct state established,related counter accept
add rule TABLE KUBE-POD-FW-TT2IUJ4C counter jump KUBE-NWPLCY-COMMON comment "common bi-directional traffic policy rules"
add rule TABLE KUBE-POD-FW-TT2IUJ4C DADDR counter jump KUBE-NWPLCY-2AQPO27D comment "run through nw policy deny-all"
add rule TABLE KUBE-POD-FW-TT2IUJ4C meta mark and 0x10000 == 0x0 counter reject comment "REJECT traffic destined for POD name:web-0"
add rule TABLE KUBE-POD-FW-TT2IUJ4C meta mark set meta mark and 0xfffeffff
add rule TABLE KUBE-NWPLCY-2AQPO27D DADDR tcp dport 80 counter meta mark set meta mark or 0x10000
`)
}

func (f stack) routerTable() string {
	return map[string]string{"ip": "kube-router-filter-ipv4", "ip -6": "kube-router-filter-ipv6"}[f.ip]
}

// TestDropNamesTheNetworkPolicyOfNFTables: the rule leaves its namespace away, that which leads to the pod's chain does not.
func TestDropNamesTheNetworkPolicyOfNFTables(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"diagnose", "--duration", "6s"}, Want: "netfilter-reject", Sure: "certain", Proof: "REJECT traffic destined for POD name:web-0",
			Title: "The network policy shop/deny-all (kube-router) selects the pod shop/web-0 and does not allow", Remedy: "kubectl -n shop describe networkpolicy deny-all",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				echoTCP(t, p.NS, "80")
				c.Node.Run("nft", f.inNFTables(p))
			},
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				c.Node.Run("nft", "flush chain "+map[string]string{"ip": "ip", "ip -6": "ip6"}[f.ip]+" "+f.routerTable()+" KUBE-NWPLCY-2AQPO27D")
			},
			Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				fetch(c.Server, net.JoinHostPort(f.addr(p), "80"), patience)
			},
		})
	}
	lab.RunAll(t, all)
}

// TestDropNamesTheProgramThatIsAsked of network policies, as kube-network-policies is, which may say no, or be down.
func TestDropNamesTheProgramThatIsAsked(t *testing.T) {
	t.Parallel()
	const number = 101
	var all []lab.Scenario
	for _, f := range stacks() {
		var queues sync.Map // of the clusters that have one
		traffic := func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				fetch(c.Server, net.JoinHostPort(f.addr(p), "80"), patience)
			}()
			if q, ok := queues.Load(c); ok {
				q.(*lab.Queue).Await(1)
				q.(*lab.Queue).Drop()
			}
			<-done
		}
		ask := func(c *lab.Cluster) {
			c.Node.Run(f.iptables+"-legacy", "-t", "mangle", "-A", "POSTROUTING", "-p", "tcp", "--syn", "-j", "NFQUEUE", "--queue-num", strconv.Itoa(number))
		}
		for _, s := range []lab.Scenario{
			{Name: "says no", Title: "most likely that of kube-network-policies, drops packets", Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				queues.Store(c, c.Node.Queue(number))
				ask(c)
			}},
			{Name: "is down", Title: "most likely that of kube-network-policies, that does not read them", Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { ask(c) }},
		} {
			s.Name, s.Args = f.name+" "+s.Name, []string{"diagnose", "--duration", "6s"}
			s.Want, s.Sure, s.Remedy = "netfilter-drop", "certain", "kubectl get networkpolicies -A   # which select the pod, and what they allow"
			s.Setup = func(t testing.TB, c *lab.Cluster, p *lab.Pod) { // not every kernel has the queues of nftables: iptables' do the same
				echoTCP(t, p.NS, "80")
				c.Node.Run("nft", "add table inet kube-network-policies; add chain inet kube-network-policies postrouting { type filter hook postrouting priority 95; }; "+
					"add rule inet kube-network-policies postrouting ct state established,related accept")
			}
			s.Traffic = traffic
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestAScanThatAPolicyDropsIsNoFault: an address far from the cluster tries the pod's ports, which its policy denies. What
// the pod itself asks for is missed if a rule takes it.
func TestAScanThatAPolicyDropsIsNoFault(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		outside := map[string]string{"ip": "203.0.113.9", "ip -6": "2001:db8:113::9"}[f.ip]
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"diagnose", "--duration", "6s"}, Want: "netfilter-drop", Sure: "certain", Proof: "--dport 80 -j DROP",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				echoTCP(t, c.Server, "80")
				c.Server.Run(f.iptables, "-t", "nat", "-A", "POSTROUTING", "-d", f.addr(p), "-j", "SNAT", "--to-source", outside) // which no namespace here has
				f.restore(c, f.policied("Calico", p, false))
			},
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				c.Node.Run(f.iptables+"-nft", "-I", "FORWARD", "-s", f.addr(p), "-p", "tcp", "--dport", "80", "-j", "DROP")
			},
			Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				scanPorts(c.Server, f.addr(p), 20, 12)
				fetch(p.NS, net.JoinHostPort(f.server, "80"), patience)
			},
		})
	}
	lab.RunAll(t, all)
}

// scanPorts tries so many ports of a host, and gives each up soon.
func scanPorts(ns *lab.NS, host string, first, n int) {
	ns.Do(func() {
		for port := first; port < first+n; port++ {
			if c, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), patience/8); err == nil {
				c.Close()
			}
		}
	})
}
