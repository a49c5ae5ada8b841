// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const said = `== cmd-ktrace
=== RUN   TestDNSNamesTheCause
--- PASS: TestDNSNamesTheCause (1.00s)
    --- PASS: TestDNSNamesTheCause/x (0.00s)
=== RUN   TestFsyncSeesEveryWayToSync
    fsync_test.go:7: no btrfs here
--- SKIP: TestFsyncSeesEveryWayToSync (0.00s)
    doctor_test.go:9: run last
--- SKIP: TestDoctorLast (0.00s)
== cmd-ktrace took 3 s
== cmd-ktrace --variant raw_tp
--- PASS: TestDNSNamesTheCause (1.00s)
--- FAIL: TestDNSCounts (1.00s)
== cmd-ktrace --variant raw_tp took 3 s
== cmd-ktrace-last
--- PASS: TestDoctorLast (1.00s)
`

func TestOutcomesAreReadFromWhatTestsSay(t *testing.T) {
	tests, err := parseOutcomes(strings.NewReader(said))
	if err != nil {
		t.Fatal(err)
	}
	k := kernel{release: "5.10.0-46-cloud-amd64", tests: tests, lines: []line{
		{Type: "hook", Probe: "path", Hook: "packet transmit", Variant: "tp_btf", Impact: "dear"},
		{Type: "hook", Probe: "path", Hook: "packet receive", Impact: "dear"},
	}}
	newer := kernel{release: "6.1.0-56-cloud-amd64", lines: []line{{Type: "hook", Probe: "path", Hook: "packet transmit", Variant: "tp_btf", Impact: "dear"}}}
	all := []kernel{k, newer}
	text := verbs(all) + hooks(all) + degraded(all)
	if strings.Contains(text, "run last") {
		t.Errorf("a test that passes in another part is reported as skipped:\n%s", text)
	}
	for _, want := range []string{
		"| verb | 5.10.0 | 6.1.0 |\n",
		"| dns | best, **raw_tp fails** | not run |\n",
		"| fsync | not run | not run |\n",
		"| doctor | best | not run |\n",
		"| path: packet transmit | tp_btf | tp_btf |\n",
		"| path: packet receive | – | ? |\n",
		"- dear (packet transmit: everywhere; packet receive: 5.10.0)\n",
		"- no btrfs here (not tested: 5.10.0)\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
