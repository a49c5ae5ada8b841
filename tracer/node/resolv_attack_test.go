// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer/netns"
	"ktrace/tracer/procfs"
)

// TestAttackResolvConfLeadsToAFileOfRoots: a user without privileges puts a link where his mount namespace has /etc/resolv.conf. It leads
// in the node's own file system, whose files are read for him only as far as he may read them.
func TestAttackResolvConfLeadsToAFileOfRoots(t *testing.T) {
	const server = "192.0.2.53"
	dir := t.TempDir()
	file := filepath.Join(dir, "private/x")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o711), os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("nameserver "+server+"\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	a := lab.NewAttacker(t, "mount -t tmpfs t /etc; ln -s "+file+" /etc/resolv.conf; hold ready\nread it </etc/resolv.conf; echo \"$it\"; hold")
	a.Await()
	inode, err := netns.Inode(a.Netns())
	if err != nil {
		t.Fatal(err)
	}
	sends := (&fakeNode{ns: inode}).sends(uint32(a.PID()), server)
	read := func(e event.Event) string { return nameservers(patientResolv(procfs.New("/")).Enrich(e)) }
	if got := read(sends); got != "" {
		t.Errorf("read %s, in a directory that he may not enter", got)
	}
	if err := os.Chmod(filepath.Dir(file), 0o711); err != nil {
		t.Fatal(err)
	}
	a.Continue()
	if own, got := a.Await(), read(sends); got != fmt.Sprintf("[%s]", server) || own != "nameserver "+server {
		t.Errorf("read %q where he may, and reads himself %q", got, own)
	}
}
