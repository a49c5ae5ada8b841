// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// TestAServiceThatWasDeletedIsNamed: its client goes on with the address, and the next host, which does not forward, is not
// to blame. Before, the service is there.
func TestAServiceThatWasDeletedIsNamed(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			echoTCP(t, c.Server, "8080")
			at := netip.MustParseAddr(f.service())
			for i, a := range []netip.Addr{at.Prev(), at, at.Next()} {
				f.kube(c.Node, []string{"low", "web", "high"}[i], "tcp", a.String(), net.JoinHostPort(f.server, "8080"))
			}
			for _, want := range [][]string{nil, {"service-dnat-miss"}} {
				if want != nil {
					c.Node.Run(f.iptables, "-t", "nat", "-D", "KUBE-SERVICES", "2")
				}
				file := filepath.Join(t.TempDir(), "run.pcapng")
				run := lab.KtraceOn(t, c.Node, "diagnose", "--netns", p.Path(), "-w", file)
				f.toService(t, c, p)
				live := run.Stop()
				lab.SameRead(t, file, live, "diagnose", "--netns", p.Path())
				if got := wrong(t, live); !slices.Equal(got, want) {
					t.Errorf("claims %q, want %q\n%s", got, want, lab.Findings(live))
				}
				if all := lab.Findings(live); want != nil && !strings.Contains(string(all[0].Raw), "an address in the range of services") {
					t.Errorf("found %s", all[0].Raw)
				}
			}
		})
	}
}
