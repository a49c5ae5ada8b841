// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// TestAPodThatEndsMayRefuse: one that is shut down closes its listeners first, and is probed to its end, as CoreDNS is for
// the seconds of its lameduck. One that refuses and stays is a finding.
func TestAPodThatEndsMayRefuse(t *testing.T) {
	t.Parallel()
	k := lab.NewKubelet(t)
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			c := lab.NewCluster(t)
			p := c.AddPod("leaving")
			at := net.JoinHostPort(map[string]string{"ip": p.Addr, "ip -6": p.Addr6}[f.ip], "8181")
			p.Run("ping", "-c1", "-W20", f.uplink) // the first packet on a new IPv6 link waits
			for _, want := range [][]string{{"connection-refused"}, nil} {
				pod := k.Pod("shop", "leaving")
				main := pod.Start("main", p.NS, "sleep", "1000").Await()
				file := filepath.Join(t.TempDir(), "run.pcapng")
				run := lab.KtraceOn(t, c.Node, "diagnose", "--host-root", k.Root, "--netns", p.Path(), "-w", file)
				for range 4 {
					fetch(c.Node, at, patience)
					time.Sleep(patience)
				}
				if want == nil {
					main.Stop()
					pod.Remove()
				}
				time.Sleep(2 * patience) // a cause is over no sooner than a second after
				live := run.Stop()
				lab.SameRead(t, file, live, "diagnose", "--netns", p.Path())
				if got := wrong(t, live); !slices.Equal(got, want) {
					t.Errorf("claims %q, want %q\n%s", got, want, lab.Findings(live))
				}
				if want != nil {
					main.Stop()
					pod.Remove()
				}
			}
		})
	}
}
