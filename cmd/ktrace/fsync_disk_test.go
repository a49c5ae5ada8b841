// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// imageDir is in memory: a disk there is fast and has a journal, which the machine's own need not have.
const imageDir = "/dev/shm"

// newDisk makes a file system on a loop device and returns where it is mounted, until the test ends.
func newDisk(t testing.TB, fs string) string {
	t.Helper()
	return newDiskOn(t, fs, filepath.Join(imageDir, fmt.Sprintf("ktrace-%d-%s", os.Getpid(), filepath.Base(t.TempDir()+t.Name()))))
}

// newDiskOn makes it in a file, sparse, that must not exist.
func newDiskOn(t testing.TB, fs, image string) string {
	t.Helper()
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Cleanup(func() {
		awaitDetached(t, image)
		_ = os.Remove(image) // may lie on a disk that is gone
	})
	if err := f.Truncate(400 << 20); err != nil {
		t.Fatal(err)
	}
	force := "-F"
	if fs == "xfs" {
		force = "-f"
	}
	command(t, "mkfs."+fs, "-q", force, image)
	return mounted(t, "-o", "loop", "-t", fs, image)
}

// awaitDetached waits until no loop device has the image: the last user's end lets go of it a moment later, and until
// then what it lies on is busy.
func awaitDetached(t testing.TB, image string) {
	t.Helper()
	for deadline := time.Now().Add(unhurried); ; {
		out, err := exec.Command("losetup", "-j", image).Output()
		if err == nil && len(out) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("losetup -j %s: %v: %s", image, err, out)
		}
		time.Sleep(5 * time.Millisecond) // a loop device has no wait of its own
	}
}

// mounted mounts on a new directory, until the test ends. The directory's own mount is shared: in copies that follow this one's
// mounts, as ip netns exec makes them for programs of other tests, the file system is unmounted when it is here.
func mounted(t testing.TB, args ...string) string {
	t.Helper()
	top := t.TempDir()
	point := filepath.Join(top, "m")
	if err := unix.Mount("none", top, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(os.NewSyscallError("mount", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(top, unix.MNT_DETACH); err != nil {
			t.Error(os.NewSyscallError("umount", err))
		}
	})
	if err := errors.Join(unix.Mount("", top, "", unix.MS_SHARED, ""), os.Mkdir(point, 0o755)); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", append(args, point)...)
	t.Cleanup(func() { command(t, "umount", point) })
	return point
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// directory makes one below a disk.
func directory(t testing.TB, elements ...string) string {
	t.Helper()
	dir := filepath.Join(elements...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open opens or creates a file until the test ends, or until the caller closes it.
func open(t testing.TB, name string, flags int) int {
	t.Helper()
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|flags, 0o600)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func write(t testing.TB, fd int, at int64) {
	t.Helper()
	if _, err := unix.Pwrite(fd, make([]byte, 2300), at); err != nil {
		t.Fatal(err)
	}
}

// uringSync has an io_uring sync a file: a ring of one entry, by hand, for no library is worth it.
func uringSync(fd int) error {
	const (
		params   = 120 // bytes of struct io_uring_params
		entry    = 64  // of struct io_uring_sqe
		mapRings = 0
		mapSQEs  = 0x10000000
		opFsync  = 3
		getEvent = 1
	)
	var p [params / 4]uint32
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return fmt.Errorf("io_uring_setup: %w", errno)
	}
	defer unix.Close(int(ring))
	// struct io_sqring_offsets begins at word 10: head, tail, ring_mask, ring_entries, flags, dropped, array.
	tail, array := p[11], p[16]
	rings, err := unix.Mmap(int(ring), mapRings, int(array)+4*int(p[0]), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(rings)
	sqes, err := unix.Mmap(int(ring), mapSQEs, entry, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(sqes)
	sqes[0] = opFsync
	*(*int32)(unsafe.Pointer(&sqes[4])) = int32(fd)
	*(*uint32)(unsafe.Pointer(&rings[array])) = 0
	*(*uint32)(unsafe.Pointer(&rings[tail])) = 1
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, getEvent, 0, 0); errno != 0 {
		return fmt.Errorf("io_uring_enter: %w", errno)
	}
	return nil
}
