// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/rlimit"
)

// RunBPF runs a package's tests, some of which load programs without tracer.Open, so it raises the memlock limit for
// them. It returns the exit status: not 0 either if a test leaves a program, map or link open.
func RunBPF(m *testing.M) int {
	if err := rlimit.RemoveMemlock(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if open := bpfFiles(); status == 0 && len(open) > 0 {
		fmt.Fprintln(os.Stderr, "left open:", strings.Join(open, " "))
		return 1
	}
	return status
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
