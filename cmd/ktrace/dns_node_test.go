// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
	"slices"
	"testing"

	"ktrace/testdata/lab"
)

// TestDNSFollowsTheNodesOwnLookupsToABridge: what is on the node's own network, as a pod with hostNetwork, asks the DNS
// service. Its query is translated, and masqueraded, before a device has it; its answer is translated back in part by the
// rules that the bridge asks, before the bridge's device has it. A server that is silent is named.
func TestDNSFollowsTheNodesOwnLookupsToABridge(t *testing.T) {
	t.Parallel()
	for i := range stacks() {
		network := networkOfNodeLookups + i
		f, dns := stacksAt(network)[i], dnsFamiliesAt(network)[i]
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewClusterAt(t, network)
			p := c.AddPod("pod")
			f.bridged(t, c, p)
			c.Node.Run(f.iptables, "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-d", dns.service, "--dport", "53",
				"-j", "DNAT", "--to-destination", net.JoinHostPort(f.sub(p, "2"), "53"))
			c.Node.Run(f.iptables, "-t", "nat", "-A", "POSTROUTING", "-p", "udp", "-o", "br0", "-j", "MASQUERADE", "--random-fully")
			p.Run("ping", "-c1", "-W20", f.sub(p, "1")) // the first packet on a new IPv6 link waits
			asker := &lab.Pod{NS: c.Node}
			for _, want := range [][]string{nil, {"dns-no-response"}} {
				answer := wellServed
				if want != nil {
					answer = notServed
				}
				stop := serveDNS(t, p.NS, net.JoinHostPort(f.sub(p, "2"), "53"), answer)
				file := filepath.Join(t.TempDir(), "run.pcapng")
				run := lab.KtraceOn(t, c.Node, "dns", "--wait", "1s", "--netns", c.Node.Path(), "-w", file)
				lookup(asker, dns.service, "web.example.org", "db.example.org")
				run.Await("the lookups", func(l lab.Line) bool { return l.Type == "event" })
				live := run.Stop()
				stop()
				lab.SameRead(t, file, live, "dns", "--wait", "1s", "--netns", c.Node.Path())
				if got := wrong(t, live); !slices.Equal(got, want) {
					t.Errorf("claims %q, want %q\n%s", got, want, lab.Findings(live))
				}
			}
		})
	}
}
