package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/rlimit"
)

// TestMain fails the run if a test leaves a program, map or link open.
func TestMain(m *testing.M) {
	if err := rlimit.RemoveMemlock(); err != nil { // for the tests that go without Open
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	if open := bpfFiles(); status == 0 && len(open) > 0 {
		fmt.Fprintln(os.Stderr, "left open:", strings.Join(open, " "))
		status = 1
	}
	os.Exit(status)
}

func bpfFiles() []string {
	links, _ := filepath.Glob("/proc/self/fd/*") // the pattern is well formed
	var open []string
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.Contains(to, "bpf") {
			open = append(open, to)
		}
	}
	return open
}
