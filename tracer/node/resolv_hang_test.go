// SPDX-License-Identifier: Apache-2.0

package node

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/tracer/procfs"
)

// TestAttackFileSystemThatNeverAnswers mounts one of user space (FUSE) that takes requests and answers none where a pod's
// resolv.conf is: events do not wait for it, and the files of other pods are read.
func TestAttackFileSystemThatNeverAnswers(t *testing.T) {
	const dns = "10.96.0.10"
	n := newFakeNode(t)
	n.process(20, "nameserver "+dns+"\n")
	n.process(21, "nameserver "+dns+"\n")
	etc := filepath.Join(n.root, "proc/20/root/etc")
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("this kernel has no FUSE: ", err)
	}
	if err := unix.Mount("silent", etc, "fuse", 0, "fd="+strconv.Itoa(device)+",rootmode=40000,user_id=0,group_id=0,allow_other"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(device) // what waits for an answer gets an error
		if err := unix.Unmount(etc, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r := NewResolv(procfs.At(n.root))
	r.wait = time.Millisecond
	for first, deadline := true, time.Now().Add(time.Minute); ; first = false { // many events, past what one read may take
		if got := nameservers(r.Enrich(n.sends(20, dns))); got != "" {
			t.Fatalf("read %s", got)
		}
		pending := r.reading[n.ns] != nil
		if first && !pending || time.Now().After(deadline) {
			t.Fatalf("the first event waited for the file, or the file is waited for without end: %t", pending)
		}
		if !pending { // the read was given up
			break
		}
	}
	l := r.looks[n.ns]
	l.last, l.read = time.Time{}, false
	r.looks[n.ns], r.wait = l, time.Minute
	clear(r.reading)
	if got := nameservers(r.Enrich(n.sends(21, dns))); got != "["+dns+"]" {
		t.Errorf("another pod's file: %q", got)
	}
}
