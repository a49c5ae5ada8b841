// SPDX-License-Identifier: Apache-2.0

//go:build unix

package outfile

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// duplicate opens once more what this process has open.
func duplicate(n int, name string) (*os.File, error) {
	again, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), name), nil
}

// taken reports whether another process has locked a file; if not, it is locked now.
func taken(file *os.File) bool {
	return errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// ownerOf is the user that a file belongs to.
func ownerOf(info os.FileInfo) uint32 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid
	}
	return 0
}

// nameless reports whether an open file has no name, so that it is gone when it is closed.
func nameless(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Nlink == 0
}

// writable is an error if no file can be made in a directory.
func writable(dir string) error {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

// full reports whether a file takes nothing more at present, or is closed. A regular file always could, and yet takes its time.
func full(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || info.Mode().IsRegular() {
		return true
	}
	is := true
	if c, err := file.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { // fails if it is closed
			all := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			n, err := unix.Poll(all, 0)
			is = n == 0 && err == nil
		})
	}
	return is
}
