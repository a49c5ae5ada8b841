// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"ktrace/cmd/internal/replay"
)

// Bounds of reading one mutant: they are small, but one flood of each kind may be in them.
const (
	maxMutantTime = 10 * time.Second
	maxMutantHeap = 256 << 20 // bytes that are in use
)

// mutantViews are all verbs that read files, and all that is done with packets.
func mutantViews() []string {
	all := []string{"", "--stats", "-w /dev/null", "-w /dev/null --dedup", "-o json", "diagnose -o json", "drop -o wide", "diagnose tcp port 80 or udp port 53"}
	for _, v := range recordedViews() {
		all = append(all, v.name)
	}
	return all
}

// samples are the files that are mutated.
func samples(t testing.TB) (all [][]byte) {
	t.Helper()
	for _, pattern := range []string{"records/*.rec", "captures/*"} {
		names, err := filepath.Glob("../../testdata/" + pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
	}
	return all
}

// readMutant reads a file and returns what is wrong with how that went; "" if nothing is. What ktrace makes of the file does not
// matter, but that it ends, soon, and takes little.
func readMutant(t testing.TB, name, view string) (wrong string) {
	t.Helper()
	done := make(chan string, 1)
	ctx, stop := context.WithTimeout(t.Context(), maxMutantTime)
	defer stop()
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			close(done)
		}()
		root := newRoot(replay.Streams{Out: io.Discard, Err: io.Discard})
		root.SetArgs(append([]string{"read", name}, strings.Fields(view)...))
		_ = root.ExecuteContext(ctx) // most are refused somewhere
	}()
	var most uint64
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case wrong := <-done:
			return wrong
		case <-tick.C:
			most = max(most, heapInUse())
		}
		switch {
		case most > maxMutantHeap:
			return fmt.Sprintf("takes %d MiB", most>>20)
		case ctx.Err() != nil:
			return fmt.Sprintf("is not read within %v", maxMutantTime)
		}
	}
}

// heapInUse is how many bytes of the heap are in use, or were since the garbage was collected last: what one read leaves behind
// is not the next one's.
func heapInUse() uint64 {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	if metrics.Read(heap); heap[0].Value.Uint64() > maxMutantHeap {
		runtime.GC()
		metrics.Read(heap)
	}
	return heap[0].Value.Uint64()
}

// TestReadsMutants reads mutants of the recordings and captures with every view. KTRACE_MUTATE is for how long, with another seed each
// time; else it is a moment, with the same. What is found goes into testdata/mutants, and stays there.
func TestReadsMutants(t *testing.T) {
	seed, long := uint64(1), 2*time.Second
	if text := os.Getenv("KTRACE_MUTATE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		seed, long = uint64(time.Now().UnixNano()), d
	}
	t.Logf("seed %d, for %v", seed, long)
	m := mutator{rand.New(rand.NewPCG(seed, 0))}
	files, views, name, read := samples(t), mutantViews(), filepath.Join(t.TempDir(), "mutant"), 0
	for end := time.Now().Add(long); time.Now().Before(end); {
		mutant := m.file(files[m.IntN(len(files))])
		if err := os.WriteFile(name, mutant, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			view := views[m.IntN(len(views))]
			read++
			if wrong := readMutant(t, name, view); wrong != "" {
				kept := filepath.Join(os.TempDir(), fmt.Sprintf("ktrace-mutant-%d-%d", seed, read))
				if err := os.WriteFile(kept, mutant, 0o600); err != nil {
					t.Error(err)
				}
				t.Fatalf("read %s %s: %s\nit is kept: move it to testdata/mutants", kept, view, wrong)
			}
		}
	}
	t.Logf("%d read", read)
}

// TestReadsKnownMutants reads those that were wrong once.
func TestReadsKnownMutants(t *testing.T) {
	names, err := filepath.Glob("../../testdata/mutants/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, view := range mutantViews() {
			if wrong := readMutant(t, name, view); wrong != "" {
				t.Errorf("read %s %s: %s", name, view, wrong)
			}
		}
	}
}
