// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// nftProxy is what kube-proxy writes in its nftables mode: its table with the parts that packets to services meet. The maps
// and sets are given as their elements.
type nftProxy struct {
	clusterIPs, serviceIPs, noEndpoints, nodePorts, noEndpointPorts []string
	chains                                                          string // of services and endpoints
}

// write makes nft's text of it, for one family.
func (f stack) writeNFT(node *lab.NS, p nftProxy) {
	ip, addr, cidr := "ip", "ipv4_addr", "10.96.0.0/12"
	if f.iptables != "iptables" {
		ip, addr, cidr = "ip6", "ipv6_addr", "fd00:96::/112"
	}
	elements := func(of []string) string {
		if len(of) == 0 {
			return ""
		}
		return "elements = { " + strings.Join(of, ", ") + " }"
	}
	text := strings.NewReplacer("IPX", ip, "ADDR", addr, "CIDR", cidr, "CLUSTERIPS", elements(p.clusterIPs), "SERVICEIPS", elements(p.serviceIPs),
		"NOENDPOINTS", elements(p.noEndpoints), "NODEPORTS", elements(p.nodePorts), "NOPORTS", elements(p.noEndpointPorts), "CHAINS", p.chains).Replace(`
table IPX kube-proxy {
	comment "rules for kube-proxy"
	set cluster-ips { type ADDR; comment "Active ClusterIPs"; CLUSTERIPS }
	map no-endpoint-services { type ADDR . inet_proto . inet_service : verdict; NOENDPOINTS }
	map no-endpoint-nodeports { type inet_proto . inet_service : verdict; NOPORTS }
	map service-ips { type ADDR . inet_proto . inet_service : verdict; SERVICEIPS }
	map service-nodeports { type inet_proto . inet_service : verdict; NODEPORTS }
	CHAINS
	chain reject-chain { reject; }
	chain services {
		IPX daddr . meta l4proto . th dport vmap @service-ips
		fib daddr type local meta l4proto . th dport vmap @service-nodeports
	}
	chain service-endpoints-check { IPX daddr . meta l4proto . th dport vmap @no-endpoint-services; }
	chain nodeport-endpoints-check { meta l4proto . th dport vmap @no-endpoint-nodeports; }
	chain cluster-ips-check {
		IPX daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
		IPX daddr { CIDR } drop comment "Drop traffic to unallocated ClusterIPs"
	}
	chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
	chain nat-output { type nat hook output priority -100; jump services; }
	chain filter-input { type filter hook input priority filter; ct state new jump nodeport-endpoints-check; ct state new jump service-endpoints-check; }
	chain filter-forward { type filter hook forward priority filter; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }
	chain filter-output { type filter hook output priority filter; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }
}
`)
	node.Run("nft", text)
}

// nftService is default/web with one endpoint.
func (f stack) nftService(endpoint string) nftProxy {
	key := f.service() + " . tcp . 80"
	return nftProxy{
		clusterIPs: []string{f.service()},
		serviceIPs: []string{key + " : goto service-ABCDEFGH-default/web/tcp/http"},
		chains: `
	chain endpoint-IJKLMNOP-default/web/tcp/http__x { meta l4proto tcp dnat to ` + endpoint + `; }
	chain service-ABCDEFGH-default/web/tcp/http { goto endpoint-IJKLMNOP-default/web/tcp/http__x; }
`,
	}
}

// TestDiagnoseKnowsKubeProxysNFTables: what its maps lost, refuse, and leave.
func TestDiagnoseKnowsKubeProxysNFTables(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		backend := net.JoinHostPort(f.server, "8080")
		key := f.service() + " . tcp . 80"
		family := map[string]string{"iptables": "ip", "ip6tables": "ip6"}[f.iptables]
		change := func(commands ...string) func(testing.TB, *lab.Cluster, *lab.Pod) {
			return func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				for _, command := range commands {
					c.Node.Run("nft", strings.ReplaceAll(command, "TABLE", family+" kube-proxy"))
				}
			}
		}
		lost := "delete element TABLE service-ips { " + key + " }"
		for _, s := range []lab.Scenario{
			{Name: "an entry is lost", Want: "service-dnat-miss", Sure: "certain", Proof: "invalid ports of ClusterIPs", Fault: change(lost), Traffic: f.toService},
			{Name: "no endpoints", Want: "service-no-endpoints", Sure: "certain", Proof: "default/web:http", Traffic: f.toService,
				Fault: change(lost, "add element TABLE no-endpoint-services { "+key+" comment \"default/web:http\" : goto reject-chain }")},
			{Name: "none on this node", Want: "service-no-endpoints", Sure: "certain", Proof: ": drop", Traffic: f.toService,
				Fault: change(lost, "add element TABLE no-endpoint-services { "+key+" comment \"default/web:http\" : drop }")},
			{Name: "an address that no service has", Want: "service-dnat-miss", Sure: "certain", Proof: "unallocated ClusterIPs", Traffic: f.toService,
				Fault: change(lost, "delete element TABLE cluster-ips { "+f.service()+" }")},
		} {
			s.Name, s.Args = f.name+" "+s.Name, []string{"diagnose", "--duration", "4s"}
			s.Setup = func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
				echoTCP(t, c.Server, "8080")
				f.writeNFT(c.Node, f.nftService(backend))
			}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestDiagnoseNamesWhatPassesTheRulesBy: rules for a service that its packets do not come to.
func TestDiagnoseNamesWhatPassesTheRulesBy(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for i, f := range stacks() {
		d := dnsFamilies()[i]
		toNodePort := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			fetch(p.NS, net.JoinHostPort(f.uplink, "30080"), patience)
		}
		for _, s := range []lab.Scenario{
			{Name: "no jump for what the node itself sends", Want: "service-dnat-miss", Sure: "certain", Proof: "searched from hook output", Traffic: f.toService,
				Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) { // the pod is a node
					echoTCP(t, c.Server, "8080")
					f.kube(p.NS, "web", "tcp", f.service(), net.JoinHostPort(f.server, "8080"))
				},
				Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
					p.Run(f.iptables, "-t", "nat", "-D", "OUTPUT", "-j", "KUBE-SERVICES")
				}},
			{Name: "a rule that is left over of a cache", Want: "service-dnat-miss", Sure: "certain", Proof: "--notrack", Setup: f.web, Traffic: f.toService,
				Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
					c.Node.Run(f.iptables, "-t", "raw", "-A", "PREROUTING", "-d", f.service(), "-p", "tcp", "-j", "CT", "--notrack")
				}},
			{Name: "all rules are gone", Want: "kube-proxy-rules-missing", Sure: "likely", Proof: "resolv.conf",
				Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
					d.kubeDNS(c.Node)
					serveDNS(t, c.Server, d.backend(portWell), wellServed)
					p.ResolvConf(clusterNames + "nameserver " + d.service + "\n")
					p.Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits for seconds
					p.Start("sleep", "infinity")           // a pod has a process whose resolv.conf can be read when the client has ended
				},
				Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
					c.Node.Run("sh", "-c", f.iptables+" -t nat -F; "+f.iptables+" -t nat -X")
				},
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, d.service, "web.example.org") }},
			{Name: "all rules are gone, and no name is asked for", Want: "kube-proxy-rules-missing", Sure: "possible", Proof: "environment", Setup: f.web,
				Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
					c.Node.Run("sh", "-c", f.iptables+" -t nat -F; "+f.iptables+" -t nat -X")
				},
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
					_, _ = p.Try("env", "WEB_SERVICE_HOST="+f.service(), "WEB_SERVICE_PORT=80", "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/"+f.service()+"/80")
				}},
			{Name: "externalTrafficPolicy Local, no endpoint here", Want: "service-no-endpoints", Sure: "certain", Proof: "default/web:http has no local endpoints",
				Setup: f.webNodePort, Traffic: toNodePort,
				Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
					c.Node.Run(f.iptables, "-t", "nat", "-F", "KUBE-EXT-web")
					c.Node.Run(f.iptables, "-A", "KUBE-EXTERNAL-SERVICES", "-p", "tcp", "-m", "comment", "--comment", "default/web:http has no local endpoints",
						"-m", "addrtype", "--dst-type", "LOCAL", "-m", "tcp", "--dport", "30080", "-j", "DROP")
				}},
		} {
			s.Name, s.Args = f.name+" "+s.Name, []string{"diagnose", "--duration", "6s"}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// webNodePort is web with a port on the node's own addresses.
func (f stack) webNodePort(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	f.web(t, c, p)
	nat := func(args ...string) { c.Node.Run(append([]string{f.iptables, "-t", "nat"}, args...)...) }
	nat("-N", "KUBE-NODEPORTS")
	nat("-N", "KUBE-EXT-web")
	nat("-A", "KUBE-SERVICES", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "KUBE-NODEPORTS")
	nat("-A", "KUBE-NODEPORTS", "-p", "tcp", "-m", "comment", "--comment", "default/web:http", "-m", "tcp", "--dport", "30080", "-j", "KUBE-EXT-web")
	nat("-A", "KUBE-EXT-web", "-j", "KUBE-SVC-web")
	for _, rule := range []string{"-N KUBE-EXTERNAL-SERVICES", "-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES", "-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES"} {
		c.Node.Run(append([]string{f.iptables}, strings.Fields(rule)...)...)
	}
}
