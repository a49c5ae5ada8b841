// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"os"
	"path/filepath"
	"testing"

	"ktrace/tracer/probe"
)

// TestPartSharesTheProgramsOfTheObject guards what a start costs: a copy has each of some 40,000 instructions.
func TestPartSharesTheProgramsOfTheObject(t *testing.T) {
	p := named(t, probe.Path)
	spec, err := p.Load()
	if err != nil {
		t.Fatal(err)
	}
	some := part(spec, "transmit_tp_btf")
	if len(some.Programs) != 1 || some.Programs["transmit_tp_btf"] != spec.Programs["transmit_tp_btf"] {
		t.Errorf("%v are not the object's own", some.Programs)
	}
	if len(spec.Programs) == 1 {
		t.Error("the object lost its other programs")
	}
}

// TestOnlyProgramsThatServeStayLoaded opens all that diagnose needs: of variants that the kernel refuses nothing is left.
func TestOnlyProgramsThatServeStayLoaded(t *testing.T) {
	tr, err := Open(Options{
		Probes:   []string{probe.Cgroup, probe.Path, probe.Sock, probe.Netfilter, probe.TLS, probe.DNS, probe.Fsync},
		Optional: []string{probe.TLS, probe.DNS, probe.Fsync}, Unwanted: []string{probe.HookRange},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	serving, multi := 0, 0
	for _, h := range tr.Hooks() {
		switch {
		case h.Variant == nil:
		case h.Variant.Multi:
			multi = 1
		default:
			serving += len(h.Variant.Programs)
		}
	}
	if got := openPrograms(t); got != serving+multi {
		t.Errorf("%d programs are open, %d serve", got, serving+multi)
	}
}

// openPrograms counts the BPF programs that this process has open.
func openPrograms(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "anon_inode:bpf-prog" {
			n++
		}
	}
	return n
}
