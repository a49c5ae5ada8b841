// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// TestReadIsManyTimesAsFastAsTshark takes the best of some rounds: whatever else the machine does disturbs some, and
// makes neither of the two faster.
func TestReadIsManyTimesAsFastAsTshark(t *testing.T) {
	const n, times, rounds = 100_000, 20, 5
	file := mixed(t, n)
	best := 0.0
	for range rounds {
		start := time.Now()
		stats := ktraceRead(t, file, "--stats", "udp port 53")
		ours := time.Since(start)
		if !strings.Contains(stats, "25000 matched") {
			t.Errorf("said %s", stats)
		}
		start = time.Now()
		shown := tool(t, "tshark", "-n", "-r", file, "-Y", "udp.port == 53", "-T", "fields", "-e", "frame.number")
		theirs := time.Since(start)
		if lines := strings.Count(shown, "\n"); lines != n/4 {
			t.Errorf("tshark shows %d packets", lines)
		}
		best = max(best, theirs.Seconds()/ours.Seconds())
		t.Logf("%.1f M packets/s, tshark %.2f M packets/s", n/ours.Seconds()/1e6, n/theirs.Seconds()/1e6)
		if best >= times {
			return
		}
	}
	t.Errorf("%.0f times as fast, want %d", best, times)
}

// TestReadNeedsLittleMemory reads a file that is larger than what it may take for it, beyond what a small file takes. It
// takes the best of some rounds: where others want the CPUs, the collector of garbage is late, and more is taken.
func TestReadNeedsLittleMemory(t *testing.T) {
	const n, rounds = 600_000, 3
	file := mixed(t, n)
	small := rusage(t, mixed(t, 100), "--stats").Maxrss >> 10
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		limit int64 // MiB
	}{
		{"counted", []string{"--stats", "udp port 53"}, 12},
		{"copied", []string{"-w", filepath.Join(t.TempDir(), "x.pcapng"), "udp port 53"}, 12},
		{"copied without doubles", []string{"-w", filepath.Join(t.TempDir(), "y.pcapng"), "--dedup"}, 48},
		{"shown", []string{"udp port 53"}, 24},
		{"diagnosed", []string{"diagnose"}, 120},
	} {
		t.Run(c.name, func(t *testing.T) {
			if info.Size() < c.limit<<20 {
				t.Fatalf("the file has %d bytes: too few", info.Size())
			}
			least := int64(math.MaxInt64)
			for round := 0; round < rounds && least > c.limit; round++ {
				took := rusage(t, file, c.args...)
				least = min(least, took.Maxrss>>10-small)
				t.Logf("%d MiB more than for a small file, %d ns of CPU a packet", took.Maxrss>>10-small, (took.Utime.Nano()+took.Stime.Nano())/n)
			}
			if least > c.limit {
				t.Errorf("took %d MiB more than for a small file, want %d at most", least, c.limit)
			}
		})
	}
}

// rusage is what reading a file takes.
func rusage(t *testing.T, file string, args ...string) *unix.Rusage {
	t.Helper()
	run := lab.StartKtrace(t, append([]string{"read", file}, args...)...)
	if _, status := run.Wait(); status != 0 {
		t.Fatalf("status %d\n%s", status, run.Stderr())
	}
	return run.Usage()
}
