// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"ktrace/testdata/lab"
)

// TestDNSNamesAMissingRoute: the query is not sent, so there is no packet and no event: the verb knows by the call that fails.
func TestDNSNamesAMissingRoute(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"dns", "--wait", "2s", "--slow", "30s"}, Want: "no-route", Sure: "certain", Proof: "ENETUNREACH",
			Setup:   answersUDP("53"),
			Fault:   func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.do(p.NS, "route del default") },
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.server, "web.example.org") },
		})
	}
	lab.RunAll(t, all)
}
