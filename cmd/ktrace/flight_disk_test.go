// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// TestFlightRecorderFiresOnASlowDisk writes a log as etcd does, in a pod's network, past a recorder that waits for the
// cause: the disk itself is slow, or has a neighbour, or is good and nothing is written.
func TestFlightRecorderFiresOnASlowDisk(t *testing.T) {
	t.Parallel()
	const slow, fair = 64 << 10, 20 << 20 // bytes a second
	const endless = 1 << 16               // of a test
	for _, tt := range []struct {
		want string
		rate int
	}{{"fsync-slow", slow}, {"fsync-neighbour", fair}} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			disk, join := newSlowDisk(t, tt.rate)
			name := filepath.Join(directory(t, disk, "member/wal"), "0.wal")
			log := func(syncs int) []string {
				return []string{"dd", "if=/dev/zero", "of=" + name, "bs=2300", fmt.Sprint("count=", syncs), "oflag=dsync", "status=none"}
			}
			t.Run("broken", func(t *testing.T) {
				if tt.want == "fsync-neighbour" {
					crowd(t, disk, join)
				}
				firesOnDisk(t, name, tt.want, slices.Concat(join, log(endless)))
			})
			t.Run("healthy", func(t *testing.T) { firesNotAtLeastOnce(t, log(40)) })
		})
	}
}

// flight is a flight recorder in a pod's network, and what begins a command that is to run there.
func flight(t *testing.T, p *lab.Pod, trigger string) (run *lab.Run, file string, there []string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "flight.pcapng")
	run = lab.Ktrace(t, "capture", "--netns", p.Path(), "--ring", "4", "--after", "300ms", "--trigger", trigger, "-w", file)
	ping(p.NS, lab.ServerAddr)
	return run, file, []string{"nsenter", "--net=" + p.Path()}
}

// firesOnDisk checks that the recorder fires while a log is written, and that the file says why.
func firesOnDisk(t *testing.T, name, want string, command []string) {
	t.Helper()
	run, file, there := flight(t, lab.NewCluster(t).AddPod("etcd"), "finding:"+want)
	background(t, append(there, command...))
	live := run.AwaitFinding(want)
	run.Stop()
	if flown(t, run) == 0 {
		t.Error("no packet was written")
	}
	if said := tool(t, "capinfos", file); !strings.Contains(said, want+": Syncs of wal files") {
		t.Errorf("capinfos does not say why\n%s", said)
	}
	read, _, _ := lab.Read(t, file, "diagnose")
	found := slowSyncs(t, name, read)
	if len(found) != 1 || !strings.HasPrefix(found[0], want+" "+subject(t, live)+"\n") {
		t.Errorf("live it was\n%s\nthe file says\n%q", live.Raw, found)
	}
}

// firesNotAtLeastOnce looks for a quiet round: on a busy machine a good disk is slow now and then, for all to see.
func firesNotAtLeastOnce(t *testing.T, words []string) {
	t.Helper()
	const rounds = 10
	p := lab.NewCluster(t).AddPod("etcd")
	for range rounds {
		run, file, there := flight(t, p, onFinding)
		there = append(there, words...)
		command(t, there[0], there[1:]...)
		found := lab.Findings(run.Stop())
		if _, err := os.Stat(file); os.IsNotExist(err) && len(found) == 0 {
			return
		}
	}
	t.Errorf("in every one of %d rounds the recorder fired", rounds)
}
