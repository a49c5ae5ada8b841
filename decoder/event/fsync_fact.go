// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/fio"
)

// FsyncFact is what user space knows of the syncs: where they are looked for, and what the kernel half has counted.
// A fact may hold one part only.
type FsyncFact struct {
	Scope  *FsyncScope  `json:"scope,omitempty"`
	Counts *FsyncCounts `json:"counts,omitempty"`
	Before *FsyncCounts `json:"before,omitempty"` // what was counted before the file began
}

// FsyncScope is what is watched. A later one takes the place of an earlier one.
type FsyncScope struct {
	Paths  []string      `json:"paths,omitempty"` // as asked for; empty: every file system with a disk below it
	Limit  time.Duration `json:"limit_ns"`        // that over_limit is counted against
	Strict bool          `json:"strict,omitempty"`
	Roots  []string      `json:"roots,omitempty"`  // directories, by the index that records refer to
	Mounts []FsyncMount  `json:"mounts,omitempty"` // file systems; names paths that were not matched by a root
	// Unwatched are mounts below the paths that appeared too late to be watched.
	Unwatched []string `json:"unwatched,omitempty"`
}

// FsyncMount is where a file system can be found.
type FsyncMount struct {
	Dev   uint32 `json:"dev"`
	Root  string `json:"root"`  // the part of the file system that is mounted
	Point string `json:"point"` // there
}

// FsyncCounts is the state of the kernel half at one moment.
type FsyncCounts struct {
	Histograms map[FsyncClass]fio.Histogram `json:"histograms,omitempty"`
	Over       map[FsyncClass]FsyncOver     `json:"over,omitempty"`
	InFlight   []FsyncInFlight              `json:"in_flight,omitempty"`
	Counts     Counts                       `json:"books"` // Seen = all in the histograms + in flight + Filtered + Lost.Map
}

// FsyncInFlight is a sync that has begun and not ended.
type FsyncInFlight struct {
	Begun  time.Duration `json:"begun_ns"` // since boot
	Age    time.Duration `json:"age_ns"`
	PID    uint32        `json:"pid"`
	TID    uint32        `json:"tid"`
	Comm   string        `json:"comm"`
	Cgroup uint64        `json:"cgroup"`
	Op     FsyncOp       `json:"op"`
	Class  FsyncClass    `json:"class"`
	Path   string        `json:"path"` // as the process sees it, "" if it is not known
}

// IOLimit is what a control group, or one above it, allows a process to write to a disk, and how much it wrote. A later
// one of the same process and file system takes the place of an earlier one.
type IOLimit struct {
	PID    uint32        `json:"pid"`
	Device string        `json:"device"` // of the file system, as Fsync.Device
	Cgroup string        `json:"cgroup"` // that has the limit, as a path that can be read on the node
	Disk   string        `json:"disk"`   // major:minor that the limit is for
	IOPS   uint64        `json:"iops,omitempty"`
	BPS    uint64        `json:"bps,omitempty"`
	Writes uint64        `json:"writes"` // by the group's members since the first fact
	Bytes  uint64        `json:"bytes"`
	Span   time.Duration `json:"span_ns"` // since then
}

// String is the limit.
func (l IOLimit) String() string {
	var parts []string
	if l.IOPS > 0 {
		parts = append(parts, fmt.Sprintf("%d writes a second", l.IOPS))
	}
	if l.BPS > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes a second", l.BPS))
	}
	return strings.Join(parts, " and ")
}

// Used is the share of the limit that was used, of both the greater; 0 if unknown.
func (l IOLimit) Used() float64 {
	seconds := l.Span.Seconds()
	if seconds <= 0 {
		return 0
	}
	used := 0.0
	if l.IOPS > 0 {
		used = float64(l.Writes) / seconds / float64(l.IOPS)
	}
	if l.BPS > 0 {
		used = max(used, float64(l.Bytes)/seconds/float64(l.BPS))
	}
	return used
}

// Since is the fact of what was written after an earlier one of the same limit.
func (l IOLimit) Since(before IOLimit) IOLimit {
	if before.Span > l.Span || before.Cgroup != l.Cgroup || before.Disk != l.Disk { // counted anew
		return l
	}
	l.Writes -= min(before.Writes, l.Writes)
	l.Bytes -= min(before.Bytes, l.Bytes)
	l.Span -= before.Span
	return l
}

// DiskUse is what went to the disk of a file system in the seconds around syncs that were slow, and who wrote it. A later
// one of the same file system takes the place of an earlier one.
type DiskUse struct {
	Device  string        `json:"device"` // of the file system, as Fsync.Device
	Disk    string        `json:"disk"`   // major:minor of the whole disk below it
	Span    time.Duration `json:"span_ns"`
	Busy    time.Duration `json:"busy_ns"`             // of the span, in which the disk had something to do
	Written uint64        `json:"written"`             // bytes, by whomever
	Writers []DiskWriter  `json:"writers,omitempty"`   // that have a file on the disk open to write, the greatest first
	IOs     uint64        `json:"ios,omitempty"`       // writes and flushes that the disk completed
	Waited  time.Duration `json:"waited_ns,omitempty"` // of all of these together, from the queue on
	// CPUWait is how much of the span some task of the node could run and had no CPU, by pressure stall information
	// (kernel 4.20); 0 where the kernel keeps none.
	CPUWait time.Duration `json:"cpu_wait_ns,omitempty"`
}

// Since is what went to the disk after an earlier fact of it.
func (u DiskUse) Since(before DiskUse) DiskUse {
	if before.Span > u.Span || before.Disk != u.Disk { // counted anew
		return u
	}
	u.Span -= before.Span
	u.Busy -= before.Busy
	u.Written -= min(before.Written, u.Written)
	u.IOs -= min(before.IOs, u.IOs)
	u.Waited -= before.Waited
	u.CPUWait -= before.CPUWait
	all := u.Writers
	u.Writers = nil
	for _, w := range all {
		for _, b := range before.Writers {
			if b.PID == w.PID && b.Comm == w.Comm {
				w.Bytes -= min(b.Bytes, w.Bytes)
			}
		}
		if w.Bytes > 0 {
			u.Writers = append(u.Writers, w)
		}
	}
	slices.SortStableFunc(u.Writers, func(a, b DiskWriter) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return u
}

// Answer is the mean time of a write or flush from the disk's queue to its end, 0 if there was none.
func (u DiskUse) Answer() time.Duration {
	if u.IOs == 0 {
		return 0
	}
	return u.Waited / time.Duration(u.IOs)
}

// iosPerSync is how many writes and flushes a sync waits for, one after the other: its data, the journal, its commit.
const iosPerSync = 3

// CPUBound reports whether syncs of limit or longer are the CPUs' doing and not the disk's: tasks waited for a CPU for a
// quarter of the time or more, while the disk answered fast enough.
func (u DiskUse) CPUBound(limit time.Duration) bool {
	return u.CPUShort() && u.IOs > 0 && iosPerSync*u.Answer() < limit
}

// CPUShort reports whether tasks waited for a CPU for a quarter of the span or more.
func (u DiskUse) CPUShort() bool { return u.Span > 0 && 4*u.CPUWait >= u.Span }

// DiskWriter is a process that writes to a disk.
type DiskWriter struct {
	PID    uint32 `json:"pid"`
	Comm   string `json:"comm"`
	Cgroup uint64 `json:"cgroup"`
	Bytes  uint64 `json:"bytes"` // that it wrote in the span, or left in memory to be written
}

// Contender returns the process beside pid that keeps the disk busy: the disk has something to do for half of the time
// or more, and a third of what it takes, or more, comes from that one, which is many times what pid writes.
func (u DiskUse) Contender(pid uint32) (DiskWriter, bool) {
	const many = 4
	var own uint64
	for _, w := range u.Writers {
		if w.PID == pid {
			own = w.Bytes
		}
	}
	for _, w := range u.Writers {
		if w.PID != pid {
			return w, 2*u.Busy >= u.Span && 3*w.Bytes >= u.Written && w.Bytes >= many*own
		}
	}
	return DiskWriter{}, false
}

// CPULimit is what a control group, or one above it, lets a process have of the CPUs, and how often it was stopped. A
// later one of the same process takes the place of an earlier one.
type CPULimit struct {
	PID       uint32        `json:"pid"`
	Cgroup    string        `json:"cgroup"`           // as a path that can be read on the node
	CPUs      float64       `json:"cpus,omitempty"`   // the limit; 0: none
	Weight    uint64        `json:"weight,omitempty"` // of the innermost group, of 100; 0: unknown
	Periods   uint64        `json:"periods"`          // of scheduling, in which it wanted to run, since the first fact
	Throttled uint64        `json:"throttled"`        // of these, in which the limit was reached
	Stopped   time.Duration `json:"stopped_ns"`       // for how long together
}

// Since is the fact of what happened after an earlier one of the same group.
func (l CPULimit) Since(before CPULimit) CPULimit {
	if before.Periods > l.Periods || before.Cgroup != l.Cgroup { // counted anew
		return l
	}
	l.Periods -= before.Periods
	l.Throttled -= min(before.Throttled, l.Throttled)
	l.Stopped -= min(before.Stopped, l.Stopped)
	return l
}

// String is what there is to say.
func (l CPULimit) String() string {
	if l.CPUs > 0 {
		return fmt.Sprintf("limit in %s: %.2f CPUs, reached in %d of %d periods, stopped for %s", l.Cgroup, l.CPUs, l.Throttled, l.Periods, Brief(l.Stopped))
	}
	return fmt.Sprintf("no limit, but weight %d of 100 in %s", l.Weight, l.Cgroup)
}

// Locate completes the path of a sync.
func (s FsyncScope) Locate(f Fsync) string {
	if int(f.root) < len(s.Roots) {
		return path.Join(s.Roots[f.root], f.Path)
	}
	if name, ok := s.mounted(f); ok {
		return name
	}
	return path.Join("("+f.Device+")", f.Path)
}

// mounted looks for the mount that shows most directly what lies at a path of a file system.
func (s FsyncScope) mounted(f Fsync) (string, bool) {
	var best *FsyncMount
	inside := "/" + f.Path
	for i, m := range s.Mounts {
		if m.Dev != f.dev || !Below(inside, m.Root) {
			continue
		}
		if best == nil || len(m.Root) > len(best.Root) || len(m.Root) == len(best.Root) && len(m.Point) < len(best.Point) {
			best = &s.Mounts[i]
		}
	}
	if best == nil {
		return "", false
	}
	return path.Join(best.Point, strings.TrimPrefix(inside, best.Root)), true
}

// Below reports whether a clean absolute path is dir or lies below it.
func Below(name, dir string) bool {
	if dir == "/" || name == dir {
		return true
	}
	return strings.HasPrefix(name, dir+"/")
}
