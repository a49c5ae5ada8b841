// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/testdata/lab"
)

// Ports of servers whose answers are no good.
const (
	portNoData = "5362" // of names under the last search domain it says NODATA
	portReason = "5363" // fails, and says why
)

func servedNoData(m *dnsmessage.Message) bool {
	switch name := m.Questions[0].Name.String(); {
	case name == "web.cluster.local.":
		return true
	case strings.HasSuffix(name, "cluster.local."):
		return servedNothing(m)
	}
	return wellServed(m)
}

func servedReason(m *dnsmessage.Message) bool {
	var h dnsmessage.ResourceHeader
	if h.SetEDNS0(1232, dnsmessage.RCodeServerFailure, false) != nil {
		return false
	}
	m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{Options: []dnsmessage.Option{{Code: 15, Data: []byte("\x00\x16nobody there")}}}}}
	return servedFailure(m)
}

// musl looks a name up as musl's resolver does: for each domain both types. It stops where the name exists, with addresses
// or without.
func musl(p *lab.Pod, server, name string) {
	for _, domain := range []string{".default.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ""} {
		out, _ := p.Try("dig", "+tries=1", "+time=3", "@"+server, name+domain, "A", "@"+server, name+domain, "AAAA")
		if strings.Contains(out, "status: NOERROR") {
			return
		}
	}
}

// rewrite has the server's host change its answers' headers.
func (f dnsFamily) rewrite(port, statement string) step {
	family := map[string]string{"IPv4": "ip", "IPv6": "ip6"}[f.name]
	return func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
		c.Server.Run("nft", "add table inet lab; add chain inet lab o { type filter hook output priority 0; }; "+
			"add rule inet lab o udp sport "+port+" "+strings.ReplaceAll(statement, "ip ", family+" "))
	}
}

// beside is an address of the server's network that no host has.
func (f dnsFamily) beside() string {
	return netip.MustParseAddr(f.server).Next().Next().String()
}

func TestDNSDistinguishesAnswersFromWhatIsNone(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		asks := func(server string) step {
			return func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, server, "web.example.org") }
		}
		for _, s := range []lab.Scenario{
			{Name: "from another address", Want: "dns-no-response", Sure: "likely", Proof: "expected from " + net.JoinHostPort(f.server, "53"),
				Fault: f.rewrite("53", "ip saddr set "+f.beside()), Traffic: asks(f.server)},
			{Name: "from another port", Want: "service-reply-not-untranslated", Sure: "likely", Proof: "expected from " + net.JoinHostPort(f.service, "53"),
				Fault: f.rewrite(portWell, "udp sport set 5399"), Traffic: asks(f.service)},
			{Name: "without an address, where the resolver stops", Want: "dns-nxdomain", Sure: "likely", Proof: "NODATA) by " + net.JoinHostPort(f.service, "53") + ": web.cluster.local",
				Fault:   f.retranslate(portNoData),
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { musl(p, f.service, "web") }},
			{Name: "that the pod itself drops", Want: "netfilter-drop", Sure: "certain", Traffic: asks(f.service), Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				p.Run(f.iptables, "-A", "INPUT", "-p", "udp", "--sport", "53", "-j", "DROP")
			}},
			{Name: "that says why it is none", Want: "dns-servfail", Sure: "certain", Proof: `extended error 22 (No Reachable Authority) "nobody there"`,
				Fault: f.retranslate(portReason), Traffic: asks(f.service)},
		} {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"dns", "--wait", "2s", "--slow", "30s"}
			s.Setup = func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.cluster(t, c, p)
				serveDNS(t, c.Server, net.JoinHostPort(f.server, "53"), wellServed)
				serveDNS(t, c.Server, f.backend(portNoData), servedNoData)
				serveDNS(t, c.Server, f.backend(portReason), servedReason)
				p.Start("sleep", "infinity")
			}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
