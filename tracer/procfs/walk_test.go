// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// processOf is a process of a user whose root is the tree of a node: a stranger in a mount namespace of its own, say.
func processOf(t *testing.T, user uint32) (p Process, root string) {
	t.Helper()
	fs := laid(t, map[string]string{"7/status": fmt.Sprintf("Name:\tx\nUid:\t1\t1\t1\t%d\n", user), "7/root/etc/hosts": "public"})
	return fs.Process(7), filepath.Join(fs.HostRoot(), "proc/7/root")
}

const (
	nodesUser = 0
	stranger  = 65534
)

// lays puts a file where only some may read it.
type lays struct {
	at         string
	dir, file  os.FileMode
	dirs, user int // owners of the directory and of the file
}

func (l lays) put(t *testing.T, root string) {
	t.Helper()
	path := filepath.Join(root, l.at)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("secret"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(path, l.user, l.user), os.Chmod(path, l.file), os.Chown(filepath.Dir(path), l.dirs, l.dirs), os.Chmod(filepath.Dir(path), l.dir)); err != nil {
		t.Fatal(err)
	}
}

// TestAttackFilesThatAProcessMayNotRead: in a mount namespace of its own a user without privileges leads a name to any file of the
// node's. What the user may not read is not read for it, nor what is in a directory that the user may not enter.
func TestAttackFilesThatAProcessMayNotRead(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root, to make files of others")
	}
	public := lays{"root/x", 0o755, 0o644, nodesUser, nodesUser}
	with := func(change func(*lays)) lays { l := public; change(&l); return l }
	for name, c := range map[string]struct {
		lays
		link string // where etc/resolv.conf leads
		as   uint32
		read bool
	}{
		"public":                               {public, "/root/x", stranger, true},
		"by a relative link":                   {public, "../root/x", stranger, true},
		"above the root is the root":           {public, "../../../../root/x", stranger, true},
		"private file":                         {with(func(l *lays) { l.file = 0o600 }), "/root/x", stranger, false},
		"private file of root's process":       {with(func(l *lays) { l.file = 0o600 }), "/root/x", nodesUser, true},
		"private directory":                    {with(func(l *lays) { l.dir = 0o700 }), "/root/x", stranger, false},
		"private directory, relative":          {with(func(l *lays) { l.dir = 0o700 }), "../root/x", stranger, false},
		"private directory, left again":        {with(func(l *lays) { l.dir = 0o700 }), "/root/../etc/hosts", stranger, false},
		"private directory of root's process":  {with(func(l *lays) { l.dir = 0o700 }), "/root/x", nodesUser, true},
		"directory that may be listed only":    {with(func(l *lays) { l.dir = 0o744 }), "/root/x", stranger, false},
		"directory that may be entered only":   {with(func(l *lays) { l.dir = 0o711 }), "/root/x", stranger, true},
		"not for a group":                      {with(func(l *lays) { l.file = 0o604 }), "/root/x", stranger, false},
		"own private directory":                {with(func(l *lays) { l.dir, l.dirs = 0o700, stranger }), "/root/x", stranger, true},
		"of a user who keeps himself from it":  {with(func(l *lays) { l.file, l.user = 0o044, stranger }), "/root/x", stranger, false},
		"another's private directory":          {with(func(l *lays) { l.dir, l.dirs = 0o700, 1000 }), "/root/x", stranger, false},
		"private directory, unknown user":      {with(func(l *lays) { l.dir = 0o700 }), "/root/x", nobody, false},
		"a directory deeper than is gone down": {lays{strings.Repeat("d/", mostDirs+1) + "x", 0o755, 0o644, 0, 0}, "/" + strings.Repeat("d/", mostDirs+1) + "x", stranger, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, root := processOf(t, c.as)
			c.put(t, root)
			if err := os.Symlink(c.link, filepath.Join(root, "etc/resolv.conf")); err != nil {
				t.Fatal(err)
			}
			text, owner, err := p.ReadFile("etc/resolv.conf", 100)
			if c.read != (string(text) == "secret" && err == nil && int(owner) == c.user) || !c.read && (len(text) > 0 || err == nil) {
				t.Errorf("read %q of user %d, error %v", text, owner, err)
			}
		})
	}
}

// TestAttackAccessControlList: one user is denied what all others may.
func TestAttackAccessControlList(t *testing.T) {
	p, root := processOf(t, stranger)
	const version, user, group, mask, other = 2, 0x02, 0x04, 0x10, 0x20
	entry := func(tag, perm uint16, id uint32) []byte {
		return []byte{byte(tag), 0, byte(perm), 0, byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)}
	}
	acl := []byte{version, 0, 0, 0}
	for _, e := range [][]byte{entry(0x01, 6, nobody), entry(user, 0, stranger), entry(group, 4, nobody), entry(mask, 4, nobody), entry(other, 4, nobody)} {
		acl = append(acl, e...)
	}
	switch err := unix.Setxattr(filepath.Join(root, "etc/hosts"), "system.posix_acl_access", acl, 0); {
	case errors.Is(err, unix.EOPNOTSUPP):
		t.Skip("no lists on this file system")
	case err != nil:
		t.Fatal(err)
	}
	if text, _, err := p.ReadFile("etc/hosts", 100); !errors.Is(err, ErrPrivate) {
		t.Errorf("read %q, error %v", text, err)
	}
}

// TestAttackWhatIsNoFileOfAProcess has the same attacks as for a Tree, and those on the way of a walk.
func TestAttackWhatIsNoFileOfAProcess(t *testing.T) {
	for name, c := range map[string]struct {
		lay func(at string) error
		err error
	}{
		"a link to itself":            {func(at string) error { return os.Symlink(filepath.Base(at), at) }, unix.ELOOP},
		"links that grow":             {func(at string) error { return os.Symlink("a/../"+filepath.Base(at)+"/b/c/d", at) }, os.ErrNotExist},
		"a pipe without a writer":     {func(at string) error { return unix.Mkfifo(at, 0o644) }, ErrNotRegular},
		"a directory":                 {func(at string) error { return os.Mkdir(at, 0o755) }, ErrNotRegular},
		"a file as a directory":       {func(at string) error { return os.Symlink("hosts/", at) }, unix.ENOTDIR},
		"a link out of the container": {func(at string) error { return os.Symlink("../../../status", at) }, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			p, root := processOf(t, stranger)
			if err := c.lay(filepath.Join(root, "etc/resolv.conf")); err != nil {
				t.Fatal(err)
			}
			if text, _, err := p.ReadFile("etc/resolv.conf", 100); !errors.Is(err, c.err) || len(text) > 0 {
				t.Errorf("read %q, error %v; want %v", text, err, c.err)
			}
		})
	}
}

// TestAttackLinksOfProcOfAProcess: they lead anywhere.
func TestAttackLinksOfProcOfAProcess(t *testing.T) {
	for _, name := range []string{"/proc/self/root/etc/passwd", "/proc/self/exe", fmt.Sprintf("/proc/%d/exe", os.Getpid())} {
		if _, _, err := New("/").Self().ReadFile(name, 1<<10); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v, want too many links", name, err)
		}
	}
}

// TestReadFileLeavesNothingOpen, whatever the way ends with.
func TestReadFileLeavesNothingOpen(t *testing.T) {
	p, root := processOf(t, stranger)
	for name, to := range map[string]string{"loop": "loop", "deep": "etc/../etc/hosts", "none": "etc/none", "up": "etc/.."} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := open()
	for range 20 {
		for _, name := range []string{"loop", "deep", "none", "up", "etc/hosts/x", "etc/hosts"} {
			_, _, _ = p.ReadFile(name, 100)
		}
	}
	if after := open(); after > before+3 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
