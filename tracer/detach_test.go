// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"testing"
	"time"

	"ktrace/tracer/probe"
)

// TestDetachingTakesASecond detaches all that diagnose attaches at most: on a node with every kind of file system, by the
// best variants and by the lowest. The kernel waits for grace periods of RCU, which are as long as what else the machine
// does makes them, so the best of some tries counts, and it may take three times what is promised.
func TestDetachingTakesASecond(t *testing.T) {
	firewalled(t) // loads the modules that have some of the functions
	const promised, tries = time.Second, 10
	for _, variant := range []string{"", "kprobe"} {
		t.Run("variant "+variant, func(t *testing.T) {
			best := time.Hour
			for n := 0; n < tries && best > promised; n++ {
				best = min(best, detaching(t, variant))
			}
			if best > 3*promised {
				t.Errorf("%v at best", best)
			}
		})
	}
}

// detaching opens all probes and returns how long it takes to detach them.
func detaching(t *testing.T, variant string) time.Duration {
	t.Helper()
	tr, err := Open(Options{
		Probes: []string{probe.Cgroup, probe.Path, probe.Sock, probe.Netfilter, probe.TLS, probe.Fsync}, Unwanted: []string{probe.HookRange}, Variant: variant,
	})
	if err != nil {
		t.Fatal(err)
	}
	programs := 0
	for _, x := range tr.Hooks() {
		if x.Variant != nil {
			programs += len(x.Variant.Programs)
		}
	}
	began := time.Now()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("%d programs: %v", programs, took)
	return took
}
