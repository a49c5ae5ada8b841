// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"iter"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// File is a descriptor that a process has open.
type File struct {
	process Process
	number  string
}

// Own is a descriptor of the reading process.
func Own(f *os.File) File {
	return File{Process{dir: "/proc/self"}, strconv.FormatUint(uint64(f.Fd()), 10)}
}

// Files yields the process's descriptors, most of them.
func (p Process) Files(most int) iter.Seq[File] {
	return func(yield func(File) bool) {
		dir, err := os.Open(p.path("fd"))
		if err != nil {
			return // it ended, or must not be asked
		}
		defer dir.Close()
		names, _ := dir.Readdirnames(most) // those that it has read
		for _, name := range names {
			if !yield(File{p, name}) {
				return
			}
		}
	}
}

// Link is what the kernel calls the file, "" if it is closed: a path, or "socket:[4711]".
func (f File) Link() string {
	link, err := os.Readlink(f.process.path("fd/" + f.number))
	if err != nil {
		return ""
	}
	return link
}

// Inode is where the file is, the device as the kernel has it, major << 20 | minor. The file's own file system is not
// asked: one on a network may not answer.
func (f File) Inode() (dev uint32, ino uint64, ok bool) {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, f.process.path("fd/"+f.number), unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st) != nil {
		return 0, 0, false
	}
	return st.Dev_major<<20 | st.Dev_minor, st.Ino, true
}

// FileInfo are the first lines of /proc/PID/fdinfo/FD (proc_pid_fdinfo(5)).
type FileInfo struct {
	Flags int // of open(2), O_RDWR among them
	Mount int // its number in mountinfo
}

// Writable reports whether the file is open to write.
func (i FileInfo) Writable() bool { return i.Flags&unix.O_ACCMODE != unix.O_RDONLY }

// Info asks the kernel about the descriptor, and not the file: what is closed is read-only, on no mount.
func (f File) Info() FileInfo {
	text, _ := readAll(f.process.path("fdinfo/"+f.number), firstLines) // whose first lines are the wanted ones
	var info FileInfo
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "flags":
			flags, err := strconv.ParseInt(value, 8, 32)
			if err == nil {
				info.Flags = int(flags)
			}
		case "mnt_id":
			info.Mount = int(int32(number(value)))
		}
	}
	return info
}
