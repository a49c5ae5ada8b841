// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/testdata/lab"
)

const portLags = "5366" // of an upstream that takes its time

// forwardDNS answers queries at an address of a pod by what the service's server says.
func (f dnsFamily) forwardDNS(t testing.TB, p *lab.Pod, addr string) {
	t.Helper()
	var upstream net.Conn
	p.Do(func() {
		var err error
		if upstream, err = net.Dial("udp", net.JoinHostPort(f.service, "53")); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { upstream.Close() })
	serveDNS(t, p.NS, addr, func(m *dnsmessage.Message) bool {
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, RecursionDesired: true}, Questions: m.Questions}
		query, err := q.Pack()
		if err == nil {
			_, err = upstream.Write(query)
		}
		b := make([]byte, 512)
		if err == nil {
			_ = upstream.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = upstream.Read(b)
		}
		if err != nil {
			t.Error(err)
			return false
		}
		return wellServed(m)
	})
}

// TestDNSNamesTheSlowServer: the pod is the cluster's DNS server, which asks another for a client. That is slow or not.
func TestDNSNamesTheSlowServer(t *testing.T) {
	t.Parallel()
	const queries, lag = 4, 400 * time.Millisecond
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		at := func(p *lab.Pod) string { return map[string]string{"IPv4": p.Addr, "IPv6": p.Addr6}[f.name] }
		all = append(all, lab.Scenario{
			Name: f.name + " an upstream", Want: "dns-slow", Sure: "certain", Proof: ":53 answered web.example.org A after",
			Args: []string{"dns", "--slow", "250ms"},
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.cluster(t, c, p)
				serveDNS(t, c.Server, f.backend(portLags), func(m *dnsmessage.Message) bool {
					time.Sleep(lag) // which is the fault
					return wellServed(m)
				})
				f.forwardDNS(t, p, net.JoinHostPort(at(p), "53"))
			},
			Fault: f.retranslate(portLags),
			Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				client := c.AddPod("client")
				client.Run("ping", "-c1", "-W20", at(p))
				lookup(client, at(p), slices.Repeat([]string{"web.example.org"}, queries)...)
			},
		})
	}
	lab.RunAll(t, all)
}
