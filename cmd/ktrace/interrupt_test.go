// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"ktrace/testdata/lab"
)

// kernelObjects are what a process holds open of BPF, as "prog_id 7", read from its files' own account.
func kernelObjects(t *testing.T, pid int) []string {
	t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, info := range infos {
		text, err := os.ReadFile(info)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(text)) {
			switch f := strings.Fields(line); {
			case len(f) != 2:
			case f[0] == "prog_id:", f[0] == "map_id:", f[0] == "link_id:":
				held = append(held, strings.TrimSuffix(f[0], ":")+" "+f[1])
			}
		}
	}
	return held
}

// exists reports whether the kernel still has an object.
func exists(t *testing.T, object string) bool {
	t.Helper()
	var kind string
	var id uint32
	if _, err := fmt.Sscan(object, &kind, &id); err != nil {
		t.Fatal(err)
	}
	var c interface{ Close() error }
	var err error
	switch kind {
	case "prog_id":
		c, err = ebpf.NewProgramFromID(ebpf.ProgramID(id))
	case "map_id":
		c, err = ebpf.NewMapFromID(ebpf.MapID(id))
	default:
		c, err = link.NewFromID(link.ID(id))
	}
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err == nil {
		c.Close()
	}
	return true
}

func TestInterruptedVerbsSumUpAndLeaveNothing(t *testing.T) {
	t.Parallel()
	for _, verb := range [][]string{{"dns"}, {"drop"}, {"reset"}, {"fsync", "--path", "/"}} {
		t.Run(verb[0], func(t *testing.T) {
			run := lab.Ktrace(t, verb...)
			held := kernelObjects(t, run.PID())
			if !strings.Contains(strings.Join(held, "\n"), "prog_id") {
				t.Fatalf("ktrace is ready but holds no program: %q", held)
			}
			lab.Summary(t, run.Stop()) // fails if there is none
			// The kernel frees what nobody holds after a grace period of its own.
			deadline := time.Now().Add(30 * time.Second)
			for _, object := range held {
				for exists(t, object) {
					if time.Now().After(deadline) {
						t.Fatalf("%s is still there", object)
					}
				}
			}
		})
	}
}

// TestALostTerminalEndsARunCleanly as an interrupt does: an administrator's connection may end before the run.
func TestALostTerminalEndsARunCleanly(t *testing.T) {
	t.Parallel()
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SIGHUP is ignored here, and so by ktrace")
	}
	run := lab.Ktrace(t, "dns")
	if err := syscall.Kill(run.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	lines, status := run.Wait()
	if status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	lab.Summary(t, lines)
}
