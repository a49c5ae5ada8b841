// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// deviceHooks see every packet at every device: it arrives, it leaves.
var deviceHooks = []string{"netif_receive_skb", "net_dev_queue"}

// emptyName is what the empty programs are called.
const emptyName = "bench_empty"

// attached are programs that do nothing, at the device hooks.
type attached []link.Link

func startEmpty(t *testing.T) running {
	var links attached
	for _, hook := range deviceHooks {
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: emptyName, Type: ebpf.RawTracepoint, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			t.Fatalf("empty program: %v", err)
		}
		l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: hook, Program: prog})
		if err := errors.Join(err, prog.Close()); err != nil {
			t.Fatalf("empty program at %s: %v", hook, err)
		}
		links = append(links, l)
	}
	return links
}

func (attached) pid() int { return os.Getpid() }

func (a attached) stop(t *testing.T) usage {
	for _, l := range a {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	return usage{}
}

// hook is what the runs of one program took.
type hook struct {
	Program string  `json:"program"`
	Runs    uint64  `json:"runs"`
	NS      float64 `json:"ns"` // a run, on average, the counting included
}

// counting makes the kernel measure programs until the returned function is called.
func counting(t *testing.T) (stop func()) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatalf("statistics of programs: %v", err)
	}
	return func() {
		if err := stats.Close(); err != nil {
			t.Error(err)
		}
	}
}

// programsOf are those that a process has attached: its files name them.
func programsOf(t *testing.T, pid int) map[ebpf.ProgramID]bool {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	all := map[ebpf.ProgramID]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if text, ok := strings.CutPrefix(line, "prog_id:"); ok {
				id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				all[ebpf.ProgramID(id)] = true
			}
		}
	}
	return all
}

// hooksOf are the programs that a process has attached and that ran, the dearest first.
func hooksOf(t *testing.T, pid int) (all []hook) {
	for id := range programsOf(t, pid) {
		prog, err := ebpf.NewProgramFromID(id)
		if err != nil {
			t.Fatal(err)
		}
		info, err := prog.Info()
		stats, statsErr := prog.Stats()
		if err := errors.Join(err, statsErr, prog.Close()); err != nil {
			t.Fatal(err)
		}
		if stats.RunCount > 0 {
			all = append(all, hook{info.Name, stats.RunCount, float64(stats.Runtime/time.Nanosecond) / float64(stats.RunCount)})
		}
	}
	slices.SortFunc(all, func(a, b hook) int { return cmp.Compare(b.NS*float64(b.Runs), a.NS*float64(a.Runs)) })
	return all
}
