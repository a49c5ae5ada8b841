// SPDX-License-Identifier: Apache-2.0

//go:build linux

package confine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asChild makes the test binary a process that confines itself, and says what it still can.
const asChild = "KTRACE_CONFINED"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(m.Run())
	}
	if err := child(os.Getenv(asChild) == "programs"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// child tries, on a thread that was there before and is locked, and on others, what is to be refused, and what is not.
func child(programs bool) error {
	locked, done := make(chan bool), make(chan error)
	go func() {
		runtime.LockOSThread()
		<-locked
		done <- refused(programs)
	}()
	if err := Process(Options{Capabilities: 1 << unix.CAP_NET_ADMIN, Programs: programs}); err != nil {
		return err
	}
	close(locked)
	return errors.Join(<-done, refused(programs), allowed())
}

func refused(programs bool) error {
	var errs []error
	want := func(what string, err error) {
		if !errors.Is(err, unix.EPERM) {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	want("setgid", unix.Setgid(1))
	want("mount", unix.Mount("none", "/", "tmpfs", 0, ""))
	want("chroot", unix.Chroot("/"))
	if err := exec.Command("true").Run(); programs != (err == nil) {
		errs = append(errs, fmt.Errorf("exec: %w", err))
	}
	if programs {
		return errors.Join(errs...)
	}
	_, _, errno := unix.Syscall(unix.SYS_INIT_MODULE, 0, 0, 0)
	want("init_module", errno)
	_, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, 0, 0)
	want("load a BPF program", errno)
	want("ptrace", unix.PtraceAttach(1))
	_, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0, 0, 0)
	want("keyctl", err)
	return errors.Join(errs...)
}

func allowed() error {
	_, err := os.ReadFile("/proc/self/status")
	l, lerr := net.Listen("tcp", "127.0.0.1:0")
	if lerr == nil {
		lerr = l.Close()
	}
	for range 100 { // new threads too
		go runtime.LockOSThread()
	}
	return errors.Join(err, lerr)
}

func TestAConfinedProcessIsRefusedWhatItDoesNotDo(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root, to have something to give up")
	}
	for _, programs := range []string{"none", "programs"} {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), asChild+"="+programs)
		if out, err := c.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
			t.Errorf("%s: %v\n%s", programs, err, out)
		}
	}
}

// TestEveryDeniedCallIsListedOnce, and the filter is not too long for its jumps.
func TestEveryDeniedCallIsListedOnce(t *testing.T) {
	seen := map[uint32]bool{}
	for _, n := range denied() {
		if seen[n] {
			t.Errorf("call %d is there twice", n)
		}
		seen[n] = true
	}
}
