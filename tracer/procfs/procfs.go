// SPDX-License-Identifier: Apache-2.0

// Package procfs reads the /proc of the node at --host-root, and files of its processes. Their contents may be hostile:
// reads are bounded in size and time, only regular files are read, and no content makes a reader panic.
package procfs

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FS is the proc file system of a node. It is safe for concurrent use.
type FS struct {
	root    string // of the node's file system
	dir     string // where proc is mounted
	foreign bool   // it is not the node's
	busy    *slots // of the reads in the files of processes that have not ended
}

// ErrNoProc is returned where no proc file system has the numbers by which the kernel's events know processes.
var ErrNoProc = errors.New("no /proc of the node's PID namespace")

// New returns that of the node with its file system at hostRoot: the proc below hostRoot if it is of the machine's first PID
// namespace, the one of the PIDs in the kernel's events, else ours at /proc.
func New(hostRoot string) *FS {
	own, ours := At(hostRoot), At("/")
	ours.root = own.root
	switch {
	case own.ofMachine():
		return own
	case ours.ofMachine():
		return ours
	}
	own.foreign, ours.foreign = true, true
	if own.Process(1).exists() {
		return own
	}
	return ours
}

// At returns the one below a root, whatever there is: for trees that are laid out.
func At(root string) *FS {
	root = filepath.Clean(cmp.Or(root, "/"))
	return &FS{root: root, dir: filepath.Join(root, "proc"), busy: newSlots()}
}

// HostRoot is where the node's file system is.
func (s *FS) HostRoot() string { return s.root }

// Check returns ErrNoProc if the node's file system is elsewhere and its processes are not to be seen. In a PID namespace
// of our own, without a --host-root, we are the node.
func (s *FS) Check() error {
	if !s.foreign || s.root == "/" {
		return nil
	}
	return fmt.Errorf("%w below %s, nor ours: mount it, or share the node's PID namespace (hostPID: true, --pid=host)", ErrNoProc, s.root)
}

// ofMachine reports whether the directory is a proc file system of the machine's first PID namespace: there only,
// process 2 is a kernel thread.
func (s *FS) ofMachine() bool {
	var st unix.Statfs_t
	return unix.Statfs(s.dir, &st) == nil && st.Type == unix.PROC_SUPER_MAGIC && s.Process(2).kernelThread()
}

// Process is that of a number, whether there is one or not.
func (s *FS) Process(pid uint32) Process {
	return Process{PID: pid, fs: s, dir: filepath.Join(s.dir, strconv.FormatUint(uint64(pid), 10))}
}

// Self is the reading process.
func (s *FS) Self() Process { return Process{PID: uint32(os.Getpid()), fs: s, dir: "/proc/self"} }

// Processes yields all processes. It is as cheap as it gets: to list what a process's directory holds has the kernel
// make each file of it.
func (s *FS) Processes() iter.Seq[Process] {
	return func(yield func(Process) bool) {
		dir, err := os.Open(s.dir)
		if err != nil {
			return
		}
		defer dir.Close()
		names, _ := dir.Readdirnames(-1) // those that it has read
		for _, name := range names {
			if pid, err := strconv.ParseUint(name, 10, 32); err == nil && !yield(s.Process(uint32(pid))) {
				return
			}
		}
	}
}

// InNetns yields the processes in a network namespace, by the namespace's inode number.
func (s *FS) InNetns(inode uint32) iter.Seq[Process] {
	return func(yield func(Process) bool) {
		for p := range s.Processes() {
			if n, err := p.Namespace("net"); err == nil && n == inode && !yield(p) {
				return
			}
		}
	}
}

// CgroupHierarchy is the number of the version 1 hierarchy that has a controller, by /proc/cgroups: "name hierarchy cgroups
// enabled" (cgroups(7)).
func (s *FS) CgroupHierarchy(controller string) (int, error) {
	text, err := readAll(filepath.Join(s.dir, "cgroups"), smallFile)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == controller {
			return strconv.Atoi(f[1])
		}
	}
	return 0, &os.PathError{Op: "look for controller " + controller, Path: filepath.Join(s.dir, "cgroups"), Err: os.ErrNotExist}
}
