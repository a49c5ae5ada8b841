// SPDX-License-Identifier: Apache-2.0

// Package netns finds and enters network namespaces, and reads their devices and addresses.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Inode returns the inode number of the network namespace at path: /proc/PID/ns/net or a bind mount
// of it. The number is reused once the namespace is gone; keep it open where that matters.
func Inode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return uint32(st.Ino), nil
}

// Handle is an open network namespace: until it is closed its inode number is not reused.
type Handle struct {
	Inode uint32
	file  *os.File
}

// ErrNone is returned for a path that is no network namespace.
var ErrNone = errors.New("is no network namespace")

// Open opens the namespace at path.
func Open(path string) (*Handle, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrNone)
	}
	return &Handle{Inode: uint32(st.Ino), file: file}, nil
}

// Cookie is the namespace's identity, which no other has during this boot (SO_NETNS_COOKIE, kernel 5.14). The error is
// unix.ENOPROTOOPT where the kernel has none.
func (h *Handle) Cookie() (cookie uint64, err error) {
	err = h.Do(func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	return cookie, err
}

// Close closes the namespace.
func (h *Handle) Close() error { return h.file.Close() }

// Do runs f in the namespace: sockets that f opens belong to it. f must start no goroutines. It needs CAP_SYS_ADMIN,
// unless the namespace is the caller's own.
func (h *Handle) Do(f func() error) error {
	done := make(chan error)
	go func() { done <- h.enter(f) }()
	return <-done
}

// enter moves its thread to the namespace and back. A thread that cannot go back stays locked, and so ends with the
// goroutine.
func (h *Handle) enter(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(home.Fd()), &st); err != nil {
		return err
	}
	if uint32(st.Ino) == h.Inode {
		defer runtime.UnlockOSThread()
		return f()
	}
	switch err := unix.Setns(int(h.file.Fd()), unix.CLONE_NEWNET); {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("enter network namespace %d: %w: that takes CAP_SYS_ADMIN", h.Inode, err)
	case err != nil:
		return fmt.Errorf("enter network namespace %d: %w", h.Inode, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave network namespace %d: %w", h.Inode, back))
	}
	runtime.UnlockOSThread()
	return err
}
