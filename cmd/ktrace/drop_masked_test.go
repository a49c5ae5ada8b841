// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
	"testing"

	"ktrace/testdata/lab"
)

// TestDropKnowsAPodBehindSourceTranslation: its packet has the node's address where it dies, and so has that of another pod,
// which was not asked for. Without the rule there is nothing to show.
func TestDropKnowsAPodBehindSourceTranslation(t *testing.T) {
	t.Parallel()
	k := lab.NewKubelet(t)
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			c := lab.NewCluster(t)
			echoTCP(t, c.Server, "80")
			c.Node.Run(f.iptables, "-t", "nat", "-A", "POSTROUTING", "-o", "uplink", "-j", "MASQUERADE")
			pods := []*lab.Pod{c.AddPod("web"), c.AddPod("db")}
			for i, name := range []string{"web", "db"} {
				k.Pod("shop", name).Start("main", pods[i].NS, "sleep", "1000").Await()
				pods[i].Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits
			}
			watch := func(drops bool) []lab.Line {
				file := filepath.Join(t.TempDir(), "run.pcapng")
				run := lab.KtraceOn(t, c.Node, "drop", "--host-root", k.Root, "-p", "shop/web", "-w", file)
				for _, p := range []*lab.Pod{pods[1], pods[0]} {
					fetch(p.NS, net.JoinHostPort(f.server, "80"), patience)
				}
				if drops {
					run.AwaitFinding("netfilter-drop")
				}
				live := run.Stop()
				lab.SameRead(t, file, live, "drop", "-p", "shop/web")
				return live
			}
			if lines := watch(false); len(lab.Findings(lines)) > 0 || len(lab.Events(lines, "drop")) > 0 {
				t.Errorf("claims of what passes: %s", lines)
			}
			c.Node.Run("nft", "add table inet lab; add chain inet lab c { type filter hook postrouting priority 200; }; add rule inet lab c oifname uplink tcp dport 80 drop")
			for _, l := range lab.Events(watch(true), "drop") {
				var drop struct {
					Pod    struct{ Name string }
					Packet struct{ Src string }
				}
				if l.Into(t, &drop); drop.Pod.Name != "web" || drop.Packet.Src != f.uplink {
					t.Errorf("shows %s", l.Raw)
				}
			}
		})
	}
}
