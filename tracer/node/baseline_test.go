// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// TestAnEmptyNamespaceIsLookedAtWithFewReads: a node has a thousand of them, all of which are looked at until ktrace is attached.
func TestAnEmptyNamespaceIsLookedAtWithFewReads(t *testing.T) {
	lan, w := lab.New(t), observe(t)
	w.Baseline(lan.Namespace("first").Inode()) // and finds all of them
	second := lan.Namespace("second").Inode()
	w.finder.Inodes()
	before := reads(t)
	facts := w.Baseline(second)
	// Of the protocols' counters there are three files, each read to its end, and two that name the tables of iptables.
	if n, most := reads(t)-before, 2*3+2*2; n > most {
		t.Errorf("%d reads, want at most %d", n, most)
	}
	for _, f := range facts {
		if f.LookupFailed != nil {
			t.Errorf("%+v", f.LookupFailed)
		}
	}
}

// reads is how often the process has read a file.
func reads(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "syscr: %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no reads are counted in %q", text)
	return 0
}

// TestConntrackIsAsFullAsTheKernelSays compares what netlink has with the kernel's files.
func TestConntrackIsAsFullAsTheKernelSays(t *testing.T) {
	ns := lab.New(t).Namespace("node")
	for _, f := range observe(t).Baseline(ns.Inode()) {
		if f.Conntrack == nil {
			continue
		}
		want, err := exec.Command("ip", "netns", "exec", ns.Name, "cat", "/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max").CombinedOutput()
		if got := fmt.Sprintf("%d\n%d\n", f.Conntrack.Count, f.Conntrack.Max); err != nil || got != string(want) {
			t.Errorf("%q, the files %q, %v", got, want, err)
		}
		return
	}
	t.Error("conntrack was not looked at")
}
