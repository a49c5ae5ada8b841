// SPDX-License-Identifier: Apache-2.0

package kallsyms

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"ktrace/tracer/confine"
)

// TestAConfinedProcessAsksTheKernel runs itself as a process that loads no program any more once it is prepared. Otherwise it
// reads the table of all functions at the first drop: 60 ms of CPU.
func TestAConfinedProcessAsksTheKernel(t *testing.T) {
	const asChild = "KTRACE_CONFINED"
	if os.Getenv(asChild) == "" {
		child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		child.Env = append(os.Environ(), asChild+"=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	address, name := inFunction(t)
	s := NewSymbols()
	s.Prepare()
	if s.printer == nil {
		t.Skip("this kernel prints no names: before 5.13")
	}
	if err := confine.Process(confine.Options{Capabilities: 1<<unix.CAP_BPF | 1<<unix.CAP_SYSLOG}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.printer.name(address); got != name || err != nil {
		t.Errorf("%q, %v, want %s", got, err, name)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
