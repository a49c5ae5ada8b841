// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// netnsDir is where ip(8) looks for network namespaces. They are made here and not by ip, for tests make hundreds, and
// where a kernel is emulated a program takes a tenth of a second to start.
const netnsDir = "/run/netns"

// away runs f on a thread whose network namespace f may change, and takes the thread back. One that cannot come back
// stays locked, so that no other goroutine ever runs on it.
func away(f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(home)
	failed := f()
	if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
		return errors.Join(failed, err)
	}
	runtime.UnlockOSThread()
	return failed
}

// addNetns makes a network namespace with lo up, and a file that stands for it.
func addNetns(path string) error {
	if err := shareNetnsDir(); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	f.Close()
	return away(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		// Until duplicate address detection is done with a device's link-local address, a second or two, neighbours go
		// unanswered and first packets wait.
		for _, of := range []string{"all", "default"} {
			if err := os.WriteFile(fmt.Sprintf("/proc/sys/net/ipv6/conf/%s/accept_dad", of), []byte("0"), 0); err != nil {
				return err
			}
		}
		return setUp("lo")
	})
}

// shareNetnsDir has a namespace's file vanish from all copies of the mounts once it is removed: else who has one, as a
// container may, would keep the namespace.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil { // nothing is mounted there yet
		return err
	}
	return unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
}

// setUp is ip link set up in the thread's namespace.
func setUp(device string) error { return askDevice(device, unix.SIOCSIFFLAGS, unix.IFF_UP, nil) }

// flagsOf are the IFF_ flags of a device in the thread's namespace.
func flagsOf(device string) (flags uint16, err error) {
	err = askDevice(device, unix.SIOCGIFFLAGS, 0, &flags)
	return flags, err
}

// askDevice sends a request about the flags of a device, with those given, and leaves what is answered in got.
func askDevice(device string, request uint, give uint16, got *uint16) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	r.SetUint16(give)
	if err := unix.IoctlIfreq(fd, request, r); err != nil {
		return err
	}
	if got != nil {
		*got = r.Uint16()
	}
	return nil
}

// removeNetns removes the file of a namespace, which lives on only as long as a process is in it.
func removeNetns(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // was never mounted
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Remove(path)
}

// killAllIn kills the processes in namespaces, but this one: a thread of ours, whose test failed in there, ends with us.
// A ktrace of another test that looks around there with one of its threads is no process of the namespace.
func killAllIn(spaces []*NS) error {
	ours := map[uint64]bool{}
	for _, ns := range spaces {
		var st unix.Stat_t
		if err := unix.Stat(ns.Path(), &st); err != nil {
			return fmt.Errorf("%s: %w", ns.Path(), err)
		}
		ours[st.Ino] = true
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, process := range all {
		pid, err := strconv.Atoi(process.Name())
		if err != nil || pid == os.Getpid() || !within(pid, ours) {
			continue
		}
		_ = unix.Kill(pid, unix.SIGKILL) // may have ended meanwhile
	}
	return nil
}

// within is whether a process is in one of the namespaces with all its threads.
func within(pid int, spaces map[uint64]bool) bool {
	var st unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) != nil || !spaces[st.Ino] {
		return false
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns/net", pid))
	for _, thread := range threads {
		if unix.Stat(thread, &st) == nil && !spaces[st.Ino] {
			return false
		}
	}
	return err == nil
}
