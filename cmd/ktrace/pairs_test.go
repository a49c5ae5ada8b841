// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/testdata/lab"
)

// TestDiagnoseNamesBothOfTwoFaults: they hit the same pod at the same time, and neither accounts for the other.
func TestDiagnoseNamesBothOfTwoFaults(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for i, f := range stacks() {
		one := func(scenarios []lab.Scenario, name string) lab.Scenario {
			return scenarios[slices.IndexFunc(scenarios, func(s lab.Scenario) bool { return s.Name == name })]
		}
		expired := handshakes()[0].scenario("a certificate", net.JoinHostPort(f.server, "8443"), tls.VersionTLS12, nil)
		pairs := []lab.Scenario{
			lab.Both(deadDNS(dnsFamilies()[i]), fault(one(firewalls(f), "nft forward reject"), web)),
			lab.Both(one(serviceFaults(f), "rule missing"), expired),
			lab.Both(one(forgeryScenarios(families()[i]), "a middle box resets after the first payload "+f.name), one(pathFaults(f), "no route forward")),
			lab.Both(f.portOfTheSame(), expired),
		}
		if f.ip == "ip" {
			pairs = append(pairs, lab.Both(slowDNS(), one(ipv4Faults(f), "reverse path")))
		}
		for _, s := range pairs {
			s.Name, s.Sure, s.Proof = f.name+" "+s.Name, "", ""
			s.Args = []string{"diagnose", "--duration", "6s", "--service-cidr", map[string]string{"ip": "10.96.0.0/12", "ip -6": "fd00:96::/112"}[f.ip]}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// fault is a scenario with a setup.
func fault(s lab.Scenario, setup step) lab.Scenario {
	s.Setup = setup
	return s
}

// deadDNS is a DNS service whose backend does not listen.
func deadDNS(f dnsFamily) lab.Scenario {
	return lab.Scenario{
		Name: "a dead DNS server", Want: "dns-server-refused", Setup: f.cluster, Fault: f.retranslate(portClosed),
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.service, "web.example.org") },
	}
}

// slowDNS is a DNS server that takes its time with every answer.
func slowDNS() lab.Scenario {
	const queries, delay = 12, 150 * time.Millisecond
	f := dnsFamilies()[0]
	return lab.Scenario{
		Name: "a slow DNS server", Want: "dns-slow", Setup: f.cluster,
		Fault: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			serveDNS(t, c.Server, f.backend(portClosed), func(m *dnsmessage.Message) bool {
				time.Sleep(delay)
				return wellServed(m)
			})
			f.retranslate(portClosed)(t, c, p)
		},
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			lookup(p, f.service, slices.Repeat([]string{"web.example.org"}, queries)...)
		},
	}
}

// portOfTheSame is a rule that drops what goes to another port of the server, whose number begins like that of the first.
func (f stack) portOfTheSame() lab.Scenario {
	return lab.Scenario{
		Name: "a filtered port", Want: "netfilter-drop", Fault: onNode(nftRule("forward", "tcp dport 844 counter drop")...),
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) { echoTCP(t, c.Server, "844") },
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			fetch(p.NS, net.JoinHostPort(f.server, "844"), patience)
		},
	}
}
