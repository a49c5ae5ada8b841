// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is a file system tree that others write to, a container's for example. Names in it are resolved as a process whose
// root it is would: no link leads out of it.
type Tree struct {
	fs    *FS
	dir   string
	owner string // whose reads in it are
}

// Tree is the one at a directory, which is resolved as ours.
func (s *FS) Tree(dir string) Tree { return Tree{fs: s, dir: dir, owner: "the node"} }

// ErrSlow is returned when the file system that a name leads to does not answer in time: a pod may have mounted one of
// its own (FUSE).
var ErrSlow = errors.New("the file system does not answer")

const (
	readWithin    = 200 * time.Millisecond // for a file: events wait meanwhile
	resolveWithin = 5 * time.Second        // for a name that the user gave: a disk that is busy may take as long
	swapTries     = 8                      // of a name whose directories are moved while it is resolved
)

// Resolve opens what a name leads to, for its identity and its name, not to read it. It needs openat2 (kernel 5.6).
func (t Tree) Resolve(name string) (*os.File, error) {
	return within(t.fs, t.owner, resolveWithin, func() (*os.File, error) {
		fd, err := t.open(name)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	})
}

// Stat is the state of what a name leads to.
func (t Tree) Stat(name string) (unix.Stat_t, error) {
	return within(t.fs, t.owner, readWithin, func() (st unix.Stat_t, err error) {
		fd, err := t.open(name)
		if err != nil {
			return st, &os.PathError{Op: "open", Path: name, Err: err}
		}
		defer unix.Close(fd)
		err = unix.Fstat(fd, &st)
		return st, err
	})
}

// ReadFile reads a regular file, most bytes of it; where there are more, the error is ErrTooLarge. Nothing else is opened,
// so no device is touched and no pipe waited for.
func (t Tree) ReadFile(name string, most int) ([]byte, error) {
	return within(t.fs, t.owner, readWithin, func() ([]byte, error) {
		fd, err := t.open(name)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		defer unix.Close(fd)
		if err := regular(fd); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		text, err := readAll(fmt.Sprintf("/proc/self/fd/%d", fd), most) // the very file that was looked at
		if errors.Is(err, ErrTooLarge) {
			return text, fmt.Errorf("%s: %w", name, ErrTooLarge)
		}
		return text, err
	})
}

// open resolves a name below the tree's root. Links of proc, which lead anywhere, are refused.
func (t Tree) open(name string) (fd int, err error) {
	root, err := unix.Open(t.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range swapTries {
		fd, err = unix.Openat2(root, name, how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return fd, err
}

// within waits for a read in the files of a process, but not for ever. One that hangs goes on by itself; when too many do,
// nothing more is read, of the same owner or at all.
func within[T any](s *FS, owner string, most time.Duration, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if !s.busy.take(owner) {
		return none, fmt.Errorf("%w: too many reads hang", ErrSlow)
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		s.busy.release(owner)
		done <- result{value, err}
	}()
	enough := time.NewTimer(most)
	defer enough.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-enough.C:
		return none, fmt.Errorf("%w within %v", ErrSlow, most)
	}
}
