// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// What any file may take to be read.
const (
	maxFileMemory = 256 << 20 // resident bytes
	maxQuietRun   = 64 << 20  // resident bytes of a live run where nothing happens, to load and attach included
	maxGrowth     = 2.7       // times the time for twice the file: the garbage collector works more where memory gets short
)

// cost is what a run of ktrace took.
type cost struct {
	peak int64 // resident bytes
	cpu  time.Duration
}

// costOf runs ktrace and measures it. KTRACE_BINARY measures another build.
func costOf(t testing.TB, args ...string) cost {
	t.Helper()
	program := os.Getenv("KTRACE_BINARY")
	if program == "" {
		program = "/proc/self/exe"
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), lab.AsKtrace+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var peak int64
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var err error
	for running := true; running; {
		peak = max(peak, highWater(cmd.Process.Pid))
		select {
		case err = <-done:
			running = false
		case <-time.After(5 * time.Millisecond): // what it grows by in the last of them is missed
		}
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3 && exit.ExitCode() != 1) { // findings, or a file refused
		t.Errorf("ktrace %s: %v\n%.2000s", strings.Join(args, " "), err, stderr.String())
	}
	return cost{peak, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

// highWater is the most memory that a process was ever resident with, in bytes; 0 if it has ended.
func highWater(pid int) (bytes int64) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &bytes); n == 1 {
			return bytes << 10
		}
	}
	return 0
}

// TestAnyFileIsReadInBounds reads files that strangers made to take much. With KTRACE_BOMBS set it reads all of them, with all
// views that are the worst for them, and half of each too; else those that took most once, with the first view.
func TestAnyFileIsReadInBounds(t *testing.T) {
	all := os.Getenv("KTRACE_BOMBS") != ""
	for _, b := range append(bombs(), shapes()...) {
		if !all && !b.worst {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			whole, size := b.file(t, b.parts)
			if !all {
				b.fits(t, whole, b.views[0])
				return
			}
			half, _ := b.file(t, b.parts/2)
			for _, view := range b.views {
				small, large := costOf(t, readArgs(half, view)...), b.fits(t, whole, view)
				t.Logf("%-22s %3d MiB: %4d, %4d MiB resident, %5.2f, %5.2f s", view, size>>20, small.peak>>20, large.peak>>20, small.cpu.Seconds(), large.cpu.Seconds())
				if start := 200 * time.Millisecond; float64(large.cpu) > maxGrowth*float64(max(small.cpu, start)) {
					t.Errorf("read %s takes %v for half of the file and %v for all of it", view, small.cpu, large.cpu)
				}
			}
		})
	}
}

// fits reads a bomb, and fails if that takes more memory than any file may.
func (b bomb) fits(t *testing.T, file, view string) cost {
	t.Helper()
	c := costOf(t, readArgs(file, view)...)
	if c.peak > maxFileMemory {
		t.Errorf("read %s takes %d MiB, want at most %d", view, c.peak>>20, maxFileMemory>>20)
	}
	return c
}

func readArgs(file, view string) []string {
	return append([]string{"read", file}, strings.Fields(view)...)
}

// TestQuietRunsFitInBounds begins those verbs that take most to attach, and that have the largest ring.
func TestQuietRunsFitInBounds(t *testing.T) {
	for _, args := range []string{"diagnose", "reset", "capture -w /dev/null"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			c := costOf(t, append(strings.Fields(args), "-d", "100ms", "host 203.0.113.1")...)
			if least := int64(20 << 20); c.peak > maxQuietRun || c.peak < least {
				t.Errorf("%d MiB, want at most %d, and no less than what a run takes that attaches", c.peak>>20, maxQuietRun>>20)
			}
		})
	}
}
