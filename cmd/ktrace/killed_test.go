// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ktrace/testdata/lab"
)

// TestWhatAKilledCaptureLeavesIsRemovedByTheNext: its filters, where the kernel does not remove them with the process, and
// the qdisc that it made; an agent's filter of the same preference, and another capture's, stay.
func TestWhatAKilledCaptureLeavesIsRemovedByTheNext(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	agent := func(ns *lab.NS, dev string) {
		ns.Run("tc", "filter", "add", "dev", dev, "egress", "pref", "1", "handle", "7", "protocol", "all", "bpf", "da", "bytecode", "1,6 0 0 4294967295,")
	}
	at := func(ns *lab.NS, dev string) string {
		return ns.Run("tc", "qdisc", "show", "dev", dev) + ns.Run("tc", "filter", "show", "dev", dev, "ingress") + ns.Run("tc", "filter", "show", "dev", dev, "egress")
	}
	out := filepath.Join(t.TempDir(), "x.pcapng")
	capture := []string{"capture", "--netns", p.NS.Path(), "--variant", "clsact"}
	killed := lab.Ktrace(t, append(capture, "-w", out)...)
	held := kernelObjects(t, killed.PID())
	if err := syscall.Kill(killed.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	agent(p.NS, "eth0")
	if left := at(p.NS, "eth0"); strings.Count(left, "ktrace") != 2 || strings.Count(left, "0x7") != 1 {
		t.Fatalf("killed, it left\n%s", left)
	}
	next := lab.Ktrace(t, capture...)
	other := lab.Ktrace(t, capture...)
	if now := at(p.NS, "eth0"); strings.Count(now, " ktrace") != 4 || strings.Count(now, "0x7") != 1 || !strings.Contains(next.Stderr(), "removed 2 TC filters") {
		t.Errorf("%s\nthere are\n%s", next.Stderr(), now)
	}
	other.Stop()
	next.Stop()
	if now := at(p.NS, "eth0"); strings.Contains(now, "ktrace") || strings.Count(now, "0x7") != 1 {
		t.Errorf("in the end there are\n%s", now)
	}
	for _, object := range held {
		if exists(t, object) {
			t.Errorf("%s is there still", object)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(out)); err != nil || len(files) > 2 { // the capture, and --ready-file elsewhere
		t.Errorf("left beside the capture: %v, %v", files, err)
	}
}
