// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/printable"
	"ktrace/decoder/wire"
)

// KindFsync is a slow sync of a file.
const KindFsync Kind = "fsync"

// Fsync is one sync of a file: the time of its event is when it was done.
type Fsync struct {
	Op       FsyncOp       `json:"op"`
	Path     string        `json:"path"`  // within the mount namespace of the path that was asked for
	Class    FsyncClass    `json:"class"` // what the file is for, by its name
	Latency  time.Duration `json:"latency_ns"`
	Error    string        `json:"error,omitempty"`    // name of the errno, "" if it succeeded
	Deleted  bool          `json:"deleted,omitempty"`  // the file has no name any more; Path was its last
	Datasync bool          `json:"datasync,omitempty"` // metadata that reading does not need were left out
	Device   string        `json:"device"`             // of the file system, major:minor
	Inode    uint64        `json:"inode"`
	Stages   FsyncTimes    `json:"stages,omitempty"` // where the time went; they sum to Latency

	dev  uint32
	root uint16 // index of the root that Path, until it is completed, is relative to
}

// FsyncOp is how a file came to be synced.
type FsyncOp string

// FsyncClass is what a file is for.
type FsyncClass string

// Classes of files, as etcd names them.
const (
	FsyncWAL   FsyncClass = "wal" // *.wal, and *.tmp in a directory "wal"
	FsyncDB    FsyncClass = "db"  // snap/db
	FsyncDir   FsyncClass = "dir" // a directory
	FsyncOther FsyncClass = "other"
)

// FsyncClasses returns all classes, in the order of their numbers in records and maps.
func FsyncClasses() []FsyncClass {
	return []FsyncClass{wire.FsyncClassWal: FsyncWAL, wire.FsyncClassDb: FsyncDB, wire.FsyncClassDir: FsyncDir, wire.FsyncClassOther: FsyncOther}
}

// fsyncOps names the operations by their numbers; one that is not listed has the number of its syscall.
func fsyncOps() []FsyncOp {
	return []FsyncOp{
		wire.FsyncFsync:         "fsync",
		wire.FsyncFdatasync:     "fdatasync",
		wire.FsyncMsync:         "msync",
		wire.FsyncSyncFileRange: "sync_file_range",
		wire.FsyncSyncfs:        "syncfs",
		wire.FsyncWriteDsync:    "write O_DSYNC",
		wire.FsyncWriteSync:     "write O_SYNC",
		wire.FsyncWriteRwf:      "write RWF_DSYNC",
		wire.FsyncIoUring:       "io_uring",
		wire.FsyncKernel:        "kernel",
	}
}

// NewFsyncOp names an operation as the kernel half numbers it; syscall is what led to it.
func NewFsyncOp(op, syscall uint32) FsyncOp {
	if ops := fsyncOps(); int64(op) < int64(len(ops)) && ops[op] != "" {
		return ops[op]
	}
	return FsyncOp(fmt.Sprintf("unknown(%#x)", syscall))
}

// NewFsyncClass names a class as the kernel half numbers it.
func NewFsyncClass(class uint32) FsyncClass {
	if all := FsyncClasses(); int64(class) < int64(len(all)) {
		return all[class]
	}
	return FsyncClass(fmt.Sprintf("unknown(%#x)", class))
}

// Kind implements Body.
func (Fsync) Kind() Kind { return KindFsync }

// Summary implements Body.
func (f Fsync) Summary() string { return strings.Join(f.Row(Event{}), " ") }

// Columns implements Tabular.
func (Fsync) Columns() []Column {
	return []Column{{"LATENCY", 10}, {"OP", 15}, {"CLASS", 5}, {"PATH", 0}}
}

// Row implements Tabular.
func (f Fsync) Row(Event) []string {
	name := f.Path
	if f.Deleted {
		name += " (deleted)"
	}
	if f.Error != "" {
		name += ": " + f.Error
	}
	return []string{Brief(f.Latency), string(f.Op), string(f.Class), name}
}

// Brief writes a duration with three digits that matter: 12.3ms.
func Brief(d time.Duration) string {
	step := time.Nanosecond
	for step <= d/1000 { // 1000*step may be more than a Duration holds
		step *= 10
	}
	return d.Round(step).String()
}

func decodeFsync(raw []byte, e *Event) error {
	var r wire.Fsync
	r.Decode(raw)
	flags := wire.FsyncFlags(r.Flags)
	f := Fsync{
		Op:       NewFsyncOp(r.Op, r.Syscall),
		Path:     fsyncPath(r.Path[:min(int(r.PathLen), len(r.Path))], flags&wire.FsyncTruncated != 0),
		Class:    NewFsyncClass(r.Class),
		Latency:  time.Duration(r.Latency),
		Error:    errnoName(-int64(r.Error)),
		Deleted:  flags&wire.FsyncDeleted != 0,
		Datasync: flags&wire.FsyncDatasync != 0,
		Device:   DeviceNumber(r.Dev),
		Inode:    r.Ino,
		dev:      r.Dev,
		root:     r.Root,
	}
	if flags&(wire.FsyncStages|wire.FsyncQueued) != 0 {
		f.Stages = NewFsyncTimes(f.Latency, r.Waited, flags&wire.FsyncStages != 0)
	}
	e.Body = f
	return nil
}

// fsyncPath puts the names, of which the last comes first, in order.
func fsyncPath(names []byte, truncated bool) string {
	var parts []string
	for _, name := range strings.Split(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name != "" {
			parts = append(parts, printable.Valid(name))
		}
	}
	if truncated {
		parts = append(parts, "...")
	}
	slices.Reverse(parts)
	return path.Join(parts...)
}

// DeviceNumber writes the number of a file system's device as /proc/self/mountinfo does. The kernel's own dev_t keeps
// the minor number in the lower 20 bits.
func DeviceNumber(dev uint32) string { return fmt.Sprintf("%d:%d", dev>>20, dev&(1<<20-1)) }

// errnoName is the name of an errno that syncs return, on the architectures of which Linux shares the numbers.
func errnoName(errno int64) string {
	if errno <= 0 {
		return ""
	}
	names := map[int64]string{
		4: "EINTR", 5: "EIO", 6: "ENXIO", 9: "EBADF", 11: "EAGAIN", 12: "ENOMEM", 19: "ENODEV", 22: "EINVAL", 27: "EFBIG",
		28: "ENOSPC", 30: "EROFS", 61: "ENODATA", 67: "ENOLINK", 74: "EBADMSG", 84: "EILSEQ", 110: "ETIMEDOUT",
		112: "EHOSTDOWN", 116: "ESTALE", 117: "EUCLEAN", 121: "EREMOTEIO", 122: "EDQUOT", 512: "ERESTARTSYS",
	}
	if name, ok := names[errno]; ok {
		return name
	}
	return fmt.Sprintf("errno %d", errno)
}
