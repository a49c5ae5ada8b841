// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// container is the root of a container whose files a stranger writes, beside a file of the node's.
func container(t *testing.T) (tree Tree, dir string) {
	t.Helper()
	node := t.TempDir()
	dir = filepath.Join(node, "container")
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(node, "secret"), []byte("of the node"), 0o600); err != nil {
		t.Fatal(err)
	}
	return New("/").Tree(dir), dir
}

func TestAttackFilesThatAreNone(t *testing.T) {
	const file = "etc/resolv.conf"
	for name, c := range map[string]struct {
		lay  func(at, secret string) error
		text string
		err  error // nil for any, if there is no text
	}{
		"a regular file": {func(at, _ string) error { return os.WriteFile(at, []byte("own"), 0o644) }, "own", nil},
		"a link within": {func(at, _ string) error {
			return errors.Join(os.WriteFile(at+".real", []byte("own"), 0o644), os.Symlink("/etc/resolv.conf.real", at))
		}, "own", nil},
		"an absolute link": {func(at, secret string) error { return os.Symlink(secret, at) }, "", os.ErrNotExist},
		"a link upwards":   {func(at, _ string) error { return os.Symlink("../../secret", at) }, "", os.ErrNotExist},
		"a link of proc":   {func(at, _ string) error { return os.Symlink("/proc/self/root/secret", at) }, "", os.ErrNotExist},
		"a link to itself": {func(at, _ string) error { return os.Symlink(at, at) }, "", nil},
		"a directory that is one": {func(at, secret string) error {
			return errors.Join(os.Remove(filepath.Dir(at)), os.Symlink(filepath.Dir(secret), filepath.Dir(at)))
		}, "", os.ErrNotExist},
		"a pipe without a writer": {func(at, _ string) error { return unix.Mkfifo(at, 0o644) }, "", ErrNotRegular},
		"a device":                {func(at, _ string) error { return unix.Mknod(at, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) }, "", ErrNotRegular},
		"a directory":             {func(at, _ string) error { return os.Mkdir(at, 0o755) }, "", ErrNotRegular},
		"a socket":                {func(at, _ string) error { return unix.Mknod(at, unix.S_IFSOCK|0o644, 0) }, "", ErrNotRegular},
		"nothing":                 {func(string, string) error { return nil }, "", os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			tree, dir := container(t)
			if err := c.lay(filepath.Join(dir, file), filepath.Join(filepath.Dir(dir), "secret")); err != nil {
				t.Fatal(err)
			}
			text, err := tree.ReadFile(file, 1<<10)
			if string(text) != c.text || (err == nil) != (c.text != "") || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("read %q, error %v; want %q, %v", text, err, c.text, c.err)
			}
		})
	}
}

func TestAttackLinksOfProc(t *testing.T) {
	tree := New("/").Tree("/")
	for _, name := range []string{"/proc/self/root/etc/passwd", "/proc/self/exe", "/proc/self/fd/0"} {
		if _, err := tree.ReadFile(name, 1<<10); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v, want too many links", name, err)
		}
	}
}

func TestAttackHugeFile(t *testing.T) {
	tree, dir := container(t)
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, []byte("begins"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	text, err := tree.ReadFile("huge", 64<<10)
	if len(text) != 64<<10 || !bytes.HasPrefix(text, []byte("begins")) || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes, error %v", len(text), err)
	}
	for most, want := range map[int]error{5: ErrTooLarge, 6: nil, 7: nil} {
		if err := os.WriteFile(huge, []byte("begins"), 0o644); err != nil {
			t.Fatal(err)
		}
		if text, err := tree.ReadFile("huge", most); len(text) != min(most, 6) || !errors.Is(err, want) {
			t.Errorf("of 6 bytes at most %d: %q, error %v", most, text, err)
		}
	}
}

// TestAttackDirectoryThatIsSwapped has a stranger move a link out of the container to where the directory is.
func TestAttackDirectoryThatIsSwapped(t *testing.T) {
	tree, dir := container(t)
	etc, out := filepath.Join(dir, "etc"), filepath.Join(dir, "out")
	if err := errors.Join(os.WriteFile(filepath.Join(etc, "secret"), []byte("own"), 0o644), os.Symlink(filepath.Dir(dir), out)); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if err := unix.Renameat2(unix.AT_FDCWD, etc, unix.AT_FDCWD, out, unix.RENAME_EXCHANGE); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	own := 0
	for range 2000 {
		switch text, err := tree.ReadFile("etc/secret", 1<<10); {
		case string(text) == "own":
			own++
		case len(text) > 0 || err == nil:
			t.Fatalf("read %q, error %v", text, err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if own == 0 {
		t.Error("the directory itself was never read")
	}
}

// TestAttackReadsThatHang stands for a file system of a pod's that does not answer.
func TestAttackReadsThatHang(t *testing.T) {
	node, never := New("/"), make(chan struct{})
	hang := func() (int, error) { <-never; return 0, nil }
	begin := time.Now()
	for i := range mostBusy {
		owner := fmt.Sprint(i / mostBusyOf)
		if _, err := within(node, owner, time.Millisecond, hang); !errors.Is(err, ErrSlow) {
			t.Fatalf("read %d: %v", i, err)
		}
		if i != mostBusyOf-1 {
			continue
		}
		if _, err := within(node, owner, time.Hour, hang); !errors.Is(err, ErrSlow) {
			t.Errorf("one more of the same owner: %v", err)
		}
		if _, err := node.Tree("/").ReadFile("etc/passwd", 1<<20); err != nil {
			t.Errorf("while all of one owner hang: %v", err)
		}
	}
	if _, err := within(node, "another", time.Hour, hang); !errors.Is(err, ErrSlow) {
		t.Errorf("one more: %v", err)
	}
	if _, err := node.Tree("/").ReadFile("etc/passwd", 1<<20); !errors.Is(err, ErrSlow) {
		t.Errorf("while all hang: %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	close(never)
	for tries := 0; ; tries++ { // they end now
		if _, err := node.Tree("/").ReadFile("etc/passwd", 1<<20); err == nil {
			break
		} else if tries == 1000 {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // that the reads have ended is no event to wait for
	}
}

func TestResolve(t *testing.T) {
	tree, dir := container(t)
	if err := os.Symlink("/etc", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	f, err := tree.Resolve("link")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if to := Own(f).Link(); to != filepath.Join(dir, "etc") {
		t.Errorf("leads to %s", to)
	}
	if info := Own(f).Info(); info.Mount == 0 || info.Writable() {
		t.Errorf("info %+v", info)
	}
	if _, err := tree.Resolve("none"); !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	st, err := tree.Stat("link")
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("mode %o, error %v", st.Mode, err)
	}
}
