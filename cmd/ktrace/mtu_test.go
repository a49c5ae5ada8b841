// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"ktrace/testdata/lab"
)

// TestMTUNamesWhatTakesNoMore: the verb for sizes alone concludes what drop does.
func TestMTUNamesWhatTakesNoMore(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range mtuFaults(f) {
			s.Name, s.Args = f.name+" "+s.Name, []string{"mtu"}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
