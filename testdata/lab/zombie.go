// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ended is how a process ended.
type ended struct {
	status int // as it exited; -1 if a signal ended it
	usage  unix.Rusage
}

// err is nil after exit status 0.
func (e ended) err() error {
	switch e.status {
	case 0:
		return nil
	case -1:
		return errors.New("ended by a signal")
	}
	return fmt.Errorf("exit status %d", e.status)
}

// reapAfter is when all threads of a process that has ended are gone, on a machine as busy as tests make it.
const reapAfter = time.Second

// combinedOutput is what a command writes. The command is reaped later, for it may have threads.
func combinedOutput(c *exec.Cmd) (out string, err error) {
	from, to, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer from.Close()
	c.Stdout, c.Stderr = to, to
	err = c.Start()
	to.Close()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(from)
	e, failed := awaitZombie(c.Process.Pid)
	time.AfterFunc(reapAfter, func() { _ = c.Wait() }) // how it ended is known
	return string(text), errors.Join(err, failed, e.err())
}

// awaitZombie waits for a child's end and leaves it to be reaped. As long as a thread of it is on its way out, reaping spins in
// the kernel over what the thread has in /proc (shrink_dcache_parent), on the very CPU that the thread may wait for: 40 ms for
// each ktrace.
func awaitZombie(pid int) (e ended, err error) {
	const statusAt = 24 // of siginfo_t, si_status of SIGCHLD on 64-bit machines
	var info unix.Siginfo
	for {
		err = unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, &e.usage)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return e, os.NewSyscallError("waitid", err)
	}
	const exited = 1 // CLD_EXITED
	e.status = -1
	if info.Code == exited {
		raw := (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))
		e.status = int(binary.NativeEndian.Uint32(raw[statusAt:]))
	}
	return e, nil
}
