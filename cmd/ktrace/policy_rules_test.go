// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// ruleSet is what a plugin writes: the policy lets pass what comes to port 80, or it does not.
type ruleSet struct {
	plugin, id, title, proof, remedy string
	allows, denies                   string // the rule of the policy that is at ALLOWED
	rules                            func(stack, *lab.Pod) string
	onNode                           bool // it judges what the pod sends to the node
}

// ruleSets are forms that the scenarios of the usual policy do not have.
func ruleSets() []ruleSet {
	return []ruleSet{{
		plugin: "Calico, for nftables", id: "netfilter-drop", proof: "Drop if no policies passed packet",
		title: "The network policy shop/deny-all (Calico) selects the pod and does not allow", remedy: "kubectl -n shop describe networkpolicy deny-all",
		allows: `tcp dport 80 counter meta mark set meta mark or 0x10000 comment "cali:a; KubernetesNetworkPolicy shop/deny-all ingress"`,
		denies: `counter comment "cali:a; KubernetesNetworkPolicy shop/deny-all ingress"`,
		rules:  stack.calicoNFT,
	}, {
		plugin: "Calico, a policy that denies, of a group", id: "netfilter-drop", proof: "cali:dYb2",
		title: "The network policy lockdown (Calico) drops", remedy: "kubectl describe globalnetworkpolicies.crd.projectcalico.org lockdown",
		allows: "-A cali-pi-lockdown -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x10000/0x10000\n-A cali-pi-lockdown -m mark --mark 0x10000/0x10000 -j RETURN",
		rules:  stack.calicoGroup,
	}, {
		plugin: "Antrea, for the node", id: "netfilter-drop", proof: "ANTREA-POL-1B2C", onNode: true,
		title: "The network policy no-web (Antrea) drops", remedy: "kubectl describe clusternetworkpolicies.crd.antrea.io no-web",
		denies: "-A ANTREA-POL-1B2C -p tcp -m tcp --dport 80 -j DROP",
		rules:  stack.antrea,
	}, {
		plugin: "Cilium, no policy", id: "netfilter-drop", proof: "CILIUM_FORWARD",
		title: `A rule of Cilium ("cilium: any->pod drop"), which is no network policy's, drops`, remedy: "",
		denies: `-A CILIUM_FORWARD -p tcp -m tcp --dport 80 -m comment --comment "cilium: any->pod drop" -j DROP`,
		rules:  stack.cilium,
	}}
}

func (f stack) calicoNFT(p *lab.Pod) string {
	table := map[string]string{"ip": "ip calico", "ip -6": "ip6 calico"}[f.ip]
	return strings.NewReplacer("TABLE", table, "POD", p.Veth).Replace(`
add table TABLE
add chain TABLE filter-FORWARD { type filter hook forward priority 0; policy accept; }
add chain TABLE filter-cali-FORWARD
add chain TABLE filter-cali-tw-POD
add chain TABLE filter-cali-pi-deny
add map TABLE filter-cali-to-wl-dispatch { type ifname : verdict; }
add element TABLE filter-cali-to-wl-dispatch { "POD" : goto filter-cali-tw-POD }
add chain TABLE filter-cali-to-wl-dispatch
add rule TABLE filter-FORWARD counter jump filter-cali-FORWARD comment "cali:g"
add rule TABLE filter-cali-FORWARD oifname "POD" counter jump filter-cali-to-wl-dispatch comment "cali:h"
add rule TABLE filter-cali-to-wl-dispatch oifname vmap @filter-cali-to-wl-dispatch
add rule TABLE filter-cali-to-wl-dispatch counter drop comment "cali:i; Unknown interface"
add rule TABLE filter-cali-tw-POD ct state established,related counter accept comment "cali:b"
add rule TABLE filter-cali-tw-POD ct state invalid counter drop comment "cali:c"
add rule TABLE filter-cali-tw-POD counter meta mark set mark and 0xfffcffff comment "cali:d"
add rule TABLE filter-cali-tw-POD meta mark & 0x20000 == 0 counter jump filter-cali-pi-deny comment "cali:e"
add rule TABLE filter-cali-tw-POD meta mark & 0x10000 == 0x10000 counter return comment "cali:f; Return if policy accepted"
add rule TABLE filter-cali-tw-POD meta mark & 0x20000 == 0 counter drop comment "cali:g; End of tier default. Drop if no policies passed packet"
add rule TABLE filter-cali-pi-deny ALLOWED
`)
}

func (f stack) calicoGroup(p *lab.Pod) string {
	return strings.NewReplacer("POD", p.Veth).Replace(`*filter
:cali-FORWARD - [0:0]
:cali-tw-POD - [0:0]
:cali-gi-group - [0:0]
:cali-pi-web - [0:0]
:cali-pi-lockdown - [0:0]
-I FORWARD -m comment --comment "cali:wUHh" -j cali-FORWARD
-A cali-FORWARD -o POD -m comment --comment "cali:S93h" -g cali-tw-POD
-A cali-tw-POD -m comment --comment "cali:63Ai" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-POD -m comment --comment "cali:11ps" -j MARK --set-xmark 0x0/0x30000
-A cali-tw-POD -m comment --comment "cali:cV0q" -m mark --mark 0x0/0x20000 -j cali-gi-group
-A cali-tw-POD -m comment --comment "cali:q_zG" -m comment --comment "Return if policy accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-POD -m comment --comment "cali:FUDV" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
-A cali-gi-group -m comment --comment "cali:u1Xw" -j cali-pi-web
-A cali-gi-group -m comment --comment "cali:mM9a" -m mark --mark 0x0/0x30000 -j cali-pi-lockdown
-A cali-pi-web -m comment --comment "cali:Hj8p" -m comment --comment "NetworkPolicy shop/web ingress" -p tcp -m tcp --dport 8080 -j MARK --set-xmark 0x10000/0x10000
-A cali-pi-lockdown -m comment --comment "cali:kQ7e" -m comment --comment "GlobalNetworkPolicy lockdown ingress" -p tcp -m tcp --dport 443 -j MARK --set-xmark 0x10000/0x10000
-A cali-pi-lockdown -m comment --comment "cali:xr3T" -m mark --mark 0x10000/0x10000 -j RETURN
ALLOWED
-A cali-pi-lockdown -m comment --comment "cali:dYb2" -j DROP
COMMIT
`)
}

func (f stack) antrea(*lab.Pod) string {
	return `*filter
:ANTREA-INPUT - [0:0]
:ANTREA-POL-INGRESS-RULES - [0:0]
:ANTREA-POL-1B2C - [0:0]
-I INPUT -m comment --comment "Antrea: jump to Antrea input rules" -j ANTREA-INPUT
-A ANTREA-INPUT -m comment --comment "Antrea: jump to static ingress NodeNetworkPolicy rules" -j ANTREA-POL-INGRESS-RULES
-A ANTREA-POL-INGRESS-RULES -s CLIENT -m comment --comment "Antrea: for rule 1B2C, policy AntreaClusterNetworkPolicy:no-web" -j ANTREA-POL-1B2C
-A ANTREA-POL-1B2C -p tcp -m tcp --dport 22 -j DROP
ALLOWED
COMMIT
`
}

func (f stack) cilium(*lab.Pod) string {
	return `*filter
:CILIUM_FORWARD - [0:0]
-I FORWARD -m comment --comment "cilium-feeder: CILIUM_FORWARD" -j CILIUM_FORWARD
ALLOWED
-A CILIUM_FORWARD -o lxc+ -m comment --comment "cilium: any->cluster on lxc+ forward accept" -j ACCEPT
COMMIT
`
}

// write puts the rules into the node, in place of those that were there.
func (s ruleSet) write(f stack, c *lab.Cluster, p *lab.Pod, policy string) {
	rules := strings.NewReplacer("ALLOWED", policy, "CLIENT", f.addr(p)+f.bits()).Replace(s.rules(f, p))
	if strings.HasPrefix(rules, "*") {
		c.Node.Run(f.iptables+"-nft", "-F")
		f.restore(c, rules)
		return
	}
	c.Node.Run("nft", "flush ruleset;"+rules)
}

// TestDropNamesTheNetworkPolicyOfOtherForms that plugins write, and none where the rule is of none.
func TestDropNamesTheNetworkPolicyOfOtherForms(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range ruleSets() {
			all = append(all, lab.Scenario{
				Name: f.name + " " + s.plugin, Args: []string{"diagnose", "--duration", "6s"}, Want: s.id, Sure: "certain", Title: s.title, Proof: s.proof, Remedy: s.remedy,
				Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
					echoTCP(t, p.NS, "80")
					echoTCP(t, c.Node, "80")
					s.write(f, c, p, s.allows)
				},
				Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) { s.write(f, c, p, s.denies) },
				Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
					if s.onNode {
						fetch(p.NS, net.JoinHostPort(f.uplink, "80"), patience)
						return
					}
					fetch(c.Server, net.JoinHostPort(f.addr(p), "80"), patience)
				},
			})
		}
	}
	lab.RunAll(t, all)
}
