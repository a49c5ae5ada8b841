// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a process of the node; it may have ended. What cannot be read of one that ended is empty, or an error that
// is os.ErrNotExist or ESRCH.
type Process struct {
	PID uint32 // as the node has it
	fs  *FS
	dir string
}

func (p Process) path(name string) string { return filepath.Join(p.dir, name) }

func (p Process) exists() bool {
	var st unix.Stat_t
	return unix.Stat(p.dir, &st) == nil
}

// Comm is the process's name, "" if it has ended. It may hold any byte but a zero.
func (p Process) Comm() string { return p.comm("comm") }

// TaskComm is the name of one of its threads.
func (p Process) TaskComm(tid uint32) string { return p.comm(fmt.Sprintf("task/%d/comm", tid)) }

func (p Process) comm(name string) string {
	text, err := readAll(p.path(name), firstLines)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}

// Cgroup is a line of /proc/PID/cgroup (cgroups(7)).
type Cgroup struct {
	Hierarchy   int // 0 is version 2
	Controllers []string
	Path        string // from the root of the reader's cgroup namespace
}

// Cgroups are the process's, one a hierarchy.
func (p Process) Cgroups() ([]Cgroup, error) {
	text, err := readAll(p.path("cgroup"), smallFile)
	if err != nil {
		return nil, err
	}
	var all []Cgroup
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 {
			continue
		}
		id, err := strconv.Atoi(fields[0])
		if err != nil {
			continue
		}
		c := Cgroup{Hierarchy: id, Path: fields[2]}
		if fields[1] != "" {
			c.Controllers = strings.Split(fields[1], ",")
		}
		all = append(all, c)
	}
	return all, nil
}

// MountInfo is the text of its mounts (mount.Parse). It is an error if there are too many to read.
func (p Process) MountInfo() ([]byte, error) { return readAll(p.path("mountinfo"), mountFile) }

// Environ is the beginning of what it was started with. It reads the memory of the process, which may have made that hang.
func (p Process) Environ() (string, error) {
	text, err := within(p.fs, p.owner(), readWithin, func() ([]byte, error) { return readAll(p.path("environ"), environFile) })
	if errors.Is(err, ErrTooLarge) {
		err = nil
	}
	return string(text), err
}

// Cmdline is the beginning of its command, each word with a zero behind it. Like Environ it reads the process's memory.
func (p Process) Cmdline() (string, error) {
	text, err := within(p.fs, p.owner(), readWithin, func() ([]byte, error) { return readAll(p.path("cmdline"), smallFile) })
	if errors.Is(err, ErrTooLarge) {
		err = nil
	}
	return string(text), err
}

// OfRoot reports whether it is a process of the machine's root, by /proc/PID/status: the owner of /proc/PID is root's for
// any process that must not be dumped.
func (p Process) OfRoot() bool {
	text, err := readAll(p.path("status"), firstLines)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			return strings.Join(strings.Fields(ids), " ") == "0 0 0 0"
		}
	}
	return false
}

// WrittenBytes is what the process has written to disks, or left in memory to be written (CONFIG_TASK_IO_ACCOUNTING);
// 0 if it has ended, or must not be asked.
func (p Process) WrittenBytes() uint64 {
	text, err := readAll(p.path("io"), firstLines)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return number(strings.TrimSpace(n))
		}
	}
	return 0
}

// Namespace is the inode number of its namespace of a kind: net, mnt, pid, … (namespaces(7)). It takes CAP_SYS_PTRACE for
// the processes of others.
func (p Process) Namespace(kind string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(p.NamespacePath(kind), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: p.NamespacePath(kind), Err: err}
	}
	return uint32(st.Ino), nil
}

// maxThreads is how many threads of a process are looked at, which may have any number.
const maxThreads = 32

// Dwells reports whether the process is in a namespace with all its threads, as far as they are looked at. Programs that visit
// namespaces, as ktrace and container runtimes do, have one thread there for a moment, which may be the first: then
// Namespace is where that is.
func (p Process) Dwells(kind string, inode uint32) bool {
	dir, err := os.Open(p.path("task"))
	if err != nil {
		return false
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(maxThreads) // those that it has read
	for _, name := range names {
		var st unix.Stat_t
		if unix.Stat(p.path("task/"+name+"/ns/"+kind), &st) == nil && uint32(st.Ino) != inode { // one that ends meanwhile has none
			return false
		}
	}
	return true
}

// NamespacePath is the file that opens its namespace of a kind.
func (p Process) NamespacePath(kind string) string { return p.path("ns/" + kind) }

// Root is the file system as the process sees it.
func (p Process) Root() Tree { return Tree{fs: p.fs, dir: p.path("root"), owner: p.owner()} }

// kernelThread reads the flags in /proc/PID/stat (proc_pid_stat(5)): "pid (comm) state ppid pgrp session tty tpgid flags …",
// where comm may hold parentheses and blanks.
func (p Process) kernelThread() bool {
	const flagsAt, kthread = 6, 0x00200000 // PF_KTHREAD
	text, err := readAll(p.path("stat"), firstLines)
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return len(fields) > flagsAt && number(fields[flagsAt])&kthread != 0
}
