// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/testdata/lab"
)

// More of the server's ports.
const (
	portEmpty    = "5357" // knows no name
	portWorld    = "5358" // knows none of the cluster's
	portRefuses  = "5359"
	portSlow     = "5360"
	portTooLong  = "5361" // has answers that do not fit, and nothing for TCP
	slowAnswer   = 1500 * time.Millisecond
	clusterNames = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
)

func servedNothing(m *dnsmessage.Message) bool {
	m.RCode = dnsmessage.RCodeNameError
	return true
}

func servedWorld(m *dnsmessage.Message) bool {
	if strings.Contains(m.Questions[0].Name.String(), "cluster.local") {
		return servedNothing(m)
	}
	return wellServed(m)
}

func servedSlowly(m *dnsmessage.Message) bool {
	time.Sleep(slowAnswer) // what a slow server does
	return wellServed(m)
}

func servedTooLong(m *dnsmessage.Message) bool {
	m.Truncated = true
	return true
}

// servers adds those that the names' faults need.
func (f dnsFamily) servers(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	f.cluster(t, c, p)
	for port, answer := range map[string]func(*dnsmessage.Message) bool{
		portEmpty: servedNothing, portWorld: servedWorld, portSlow: servedSlowly, portTooLong: servedTooLong,
		portRefuses: func(m *dnsmessage.Message) bool { m.RCode = dnsmessage.RCodeRefused; return true },
	} {
		serveDNS(t, c.Server, f.backend(port), answer)
	}
	c.Node.Run(f.iptables, "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-d", f.service, "--dport", "53", "-j", "DNAT", "--to-destination", f.backend(portTooLong))
	p.Start("sleep", "infinity")
}

// resolves looks a name up as programs do, by the resolver of the C library.
func resolves(name string) step {
	return func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { _, _ = p.Try("getent", "ahostsv4", name) }
}

func digs(args ...string) func(dnsFamily) step {
	return func(f dnsFamily) step {
		return func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			_, _ = p.Try(append([]string{"dig", "+tries=1", "+time=4", "@" + f.service, "web.example.org", "A"}, args...)...)
		}
	}
}

func TestDNSNamesWhatIsWrongWithNamesAndAnswers(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		for _, s := range []lab.Scenario{
			{Name: "a name that exists nowhere", Want: "dns-nxdomain", Sure: "certain", Proof: "web.default.svc.cluster.local, web.svc.cluster.local, web.cluster.local, web",
				Fault: f.retranslate(portEmpty), Traffic: resolves("web")},
			{Name: "a name that is tried under every domain first", Want: "dns-search-amplification", Fault: f.retranslate(portWorld), Traffic: resolves("web.example.org")},
			{Name: "a server that refuses", Want: "dns-refused", Sure: "certain", Fault: f.retranslate(portRefuses), Traffic: digs()(f)},
			{Name: "an answer that is slow once", Want: "dns-slow", Fault: f.retranslate(portSlow), Traffic: digs()(f)},
			{Name: "a long answer, and no TCP", Want: "dns-truncated", Sure: "certain", Proof: "over TCP: ", Fault: f.retranslate(portTooLong), Traffic: digs()(f)},
			{Name: "a long answer that nobody fetches", Want: "dns-truncated", Sure: "likely", Proof: "1232 bytes (EDNS)", Fault: f.retranslate(portTooLong), Traffic: digs("+ignore")(f)},
		} {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"dns", "--slow", "1s"}
			s.Setup = f.servers
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// kubeDNS writes what kube-proxy does for the cluster's DNS service.
func (f dnsFamily) kubeDNS(node *lab.NS) {
	const name = "kube-system/kube-dns:dns"
	nat := func(args ...string) { node.Run(append([]string{f.iptables, "-t", "nat"}, args...)...) }
	for _, chain := range []string{"KUBE-SERVICES", "KUBE-SVC-DNS", "KUBE-SEP-DNS"} {
		nat("-N", chain)
	}
	nat("-A", "PREROUTING", "-j", "KUBE-SERVICES")
	nat("-A", "KUBE-SERVICES", "-d", f.service, "-p", "udp", "-m", "comment", "--comment", name+" cluster IP", "-m", "udp", "--dport", "53", "-j", "KUBE-SVC-DNS")
	nat("-A", "KUBE-SVC-DNS", "-m", "comment", "--comment", name+" -> "+f.backend(portWell), "-j", "KUBE-SEP-DNS")
	nat("-A", "KUBE-SEP-DNS", "-p", "udp", "-m", "comment", "--comment", name, "-m", "udp", "-j", "DNAT", "--to-destination", f.backend(portWell))
}

// nobodys is an address beside the DNS service's, which no service has.
func (f dnsFamily) nobodys() string {
	return map[string]string{lab.ServiceDNS: "10.96.0.99", lab.ServiceDNS6: "fd00:96::99"}[f.service]
}

// holdsPod starts a process in a pod whose resolv.conf can be read when the client is gone, as every pod has one.
func holdsPod(t testing.TB, p *lab.Pod) {
	t.Helper()
	comm := fmt.Sprintf("/proc/%d/comm", p.Start("sleep", "infinity").Process.Pid)
	eventually(t, "a process with the pod's files", func() bool {
		name, err := os.ReadFile(comm)
		return err == nil && string(name) == "sleep\n"
	})
}

func TestDNSNamesABadResolvConf(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		conf := func(nameserver string) step {
			return func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				p.ResolvConf(clusterNames + nameserver + "\noptions timeout:1 attempts:1\n")
			}
		}
		for _, s := range []lab.Scenario{
			{Name: "that names no service", Proof: "no service has the address " + f.nobodys(), Fault: conf("nameserver " + f.nobodys())},
			{Name: "with lines of Windows", Proof: `"nameserver ` + f.service + `\r"`, Fault: conf("nameserver " + f.service + "\r")},
			{Name: "that names the node's resolver", Proof: "its nameservers: 127.0.0.53", Fault: conf("nameserver 127.0.0.53")},
			{Name: "that names nobody", Proof: `"nameserver: ` + f.service + `"`, Fault: conf("nameserver: " + f.service)},
		} {
			s.Name = f.name + " " + s.Name
			s.Want, s.Sure = "dns-bad-resolv-conf", "certain"
			s.Args = []string{"dns", "--slow", "30s", "--wait", "2s"}
			s.Setup = func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.kubeDNS(c.Node)
				serveDNS(t, c.Server, f.backend(portWell), wellServed)
				p.Run("ping", "-c1", "-W20", f.server)
				conf("nameserver "+f.service)(t, c, p)
				holdsPod(t, p)
			}
			s.Traffic = resolves("web")
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
