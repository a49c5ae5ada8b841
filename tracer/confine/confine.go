// SPDX-License-Identifier: Apache-2.0

// Package confine gives up what a process that has attached its programs does not need any more, on all of its threads, for good:
// capabilities, the means to get others (no_new_privs, the bounding set), and system calls that only an intruder would make.
package confine

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options say what is kept.
type Options struct {
	Capabilities uint64 // bits of those to keep, of those that are held
	// Programs is whether other programs are run later. They get what the process had from its beginning, so only its own
	// capabilities are given up.
	Programs bool
}

// Process confines this process. What the kernel or a sandbox refuses is left as it is; the error says what that is. It needs no
// privileges. Kernels since 3.17 have all of it.
func Process(o Options) error {
	if o.Programs {
		return narrow(o.Capabilities)
	}
	return errors.Join(noNewPrivileges(), bound(o.Capabilities), narrow(o.Capabilities), filter())
}

// noNewPrivileges keeps files with set-user-ID bits or capabilities from giving any.
func noNewPrivileges() error {
	if err := everyThread(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

// bound takes all others from the bounding and ambient sets, so that no program gets them by being executed. It needs CAP_SETPCAP for
// the first.
func bound(keep uint64) error {
	if err := everyThread(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return fmt.Errorf("ambient capabilities: %w", err)
	}
	for c := uintptr(0); ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil { // one more than this kernel has
			return nil
		}
		if has == 0 || keep&(1<<c) != 0 {
			continue
		}
		switch err := everyThread(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); {
		case errors.Is(err, unix.EPERM): // as in a container without CAP_SETPCAP: no_new_privs does as much
			return nil
		case err != nil:
			return fmt.Errorf("bounding set: %w", err)
		}
	}
}

// narrow takes all others from the permitted, effective and inheritable sets.
func narrow(keep uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	for i, word := range []uint32{uint32(keep), uint32(keep >> 32)} {
		data[i].Permitted &= word
		data[i].Effective &= word
		data[i].Inheritable &= word
	}
	if err := capset(&header, &data); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// everyThread makes a system call on all threads, those that are locked in another namespace too. Its error is
// ENOTSUP in a binary with cgo, whose threads Go does not know all.
func everyThread(trap, a1, a2, a3 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(trap, a1, a2, a3, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
