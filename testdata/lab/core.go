// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"os"
	"slices"
	"testing"
	"time"

	"ktrace/decoder/diagnose"
)

// RunAll runs scenarios. Under go test -short these are the core, which is what is worth its time on every kernel: one
// for each finding that is the verb's own and one of what other verbs find, too; one of all with a variant that is not
// the best.
func RunAll(t *testing.T, all []Scenario) {
	if testing.Short() {
		runCore(t, core(all))
		return
	}
	for _, s := range all {
		s.Run(t)
	}
}

// core leaves one for each finding: by turns the first of them and the last, which is of another address family where
// the list goes through both.
func core(all []Scenario) []Scenario {
	var order []string
	of := map[string][]Scenario{}
	for _, s := range all {
		k := s.Want
		if !s.own() {
			k = "of other verbs"
		}
		if of[k] == nil {
			order = append(order, k)
		}
		of[k] = append(of[k], s)
	}
	kept := make([]Scenario, 0, len(order))
	for i, want := range order {
		kept = append(kept, of[want][i%2*(len(of[want])-1)])
	}
	if os.Getenv(testVariant) != "" {
		return kept[:1]
	}
	return kept
}

// own is whether the verb is the one that its finding belongs to.
func (s Scenario) own() bool {
	row, _ := diagnose.RowOf(s.Want)
	return s.Args[0] == cmp.Or(string(row.Kind), "diagnose")
}

// runCore runs each fault. Left out where a kernel is emulated are that a file says the same, which is of no kernel, and
// the twins: diagnose has the rules of all verbs, and its own test that it says nothing of healthy traffic.
func runCore(t *testing.T, all []Scenario) {
	for _, s := range all {
		s.Args = unhurried(s.Args)
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			run, _ := s.attach(t, true)
			s.await(run)
			s.onlyWanted(t, run.Stop())
		})
	}
}

// unhurried gives traffic three times as long to pass.
func unhurried(args []string) []string {
	args = slices.Clone(args)
	if i := slices.Index(args, "--duration"); i >= 0 {
		if d, err := time.ParseDuration(args[i+1]); err == nil {
			args[i+1] = (3 * d).String()
		}
	}
	return args
}
