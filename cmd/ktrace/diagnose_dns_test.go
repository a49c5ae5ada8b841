// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"ktrace/testdata/lab"
)

// TestDiagnoseNamesWhatIsWrongWithADNSServer: as the verb dns does, and not as what else it may look like: the server's port
// is not the service's.
func TestDiagnoseNamesWhatIsWrongWithADNSServer(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		for _, s := range []lab.Scenario{
			{Name: "server stopped", Want: "dns-server-refused", Sure: "certain", Grave: true, Fault: f.retranslate(portClosed)},
			{Name: "server hangs", Want: "dns-no-response", Sure: "certain", Grave: true, Fault: f.retranslate(portQuiet)},
			{Name: "server fails", Want: "dns-servfail", Sure: "certain", Fault: f.retranslate(portFails)},
		} {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"diagnose", "--duration", "6s", "--slow", "30s"}
			s.Setup = func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.cluster(t, c, p)
				holdsPod(t, p)
			}
			s.Traffic = func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.service, "web.example.org") }
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
