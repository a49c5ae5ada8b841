// SPDX-License-Identifier: Apache-2.0

// Package fsync is the live half of the fsync verb.
package fsync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"ktrace/bpf"
	"ktrace/decoder/event"
	"ktrace/decoder/fio"
	"ktrace/tracer/boot"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
)

// Options say where to look for syncs.
type Options struct {
	Paths   []string // directories; none: every file system with a disk below it
	PID     int      // whose paths they are; 0: the node's
	Node    *procfs.FS
	AllSync bool          // sync_file_range and syncfs on ext4 too
	Limit   time.Duration // syncs that take longer are counted
	Stages  bool          // report what syncs wait for, at about 140 ns per context switch; else only the time without a CPU
	ByNetns bool          // the selection names a network namespace, not just pods
	Strict  bool          // the limit was named by the user, so it goes for all classes of files
}

// Watcher knows where the watched paths are, and reads what the kernel half has counted.
type Watcher struct {
	o        Options
	roots    syncRoots
	control  bpf.FsyncControl
	maps     probe.Maps
	reported event.FsyncScope
	unwanted []string // hooks that no mount needed when the run began
	missed   []string // mounted too late for a hook that was not attached
}

// ErrNoDisk is returned where no file system has files that can be synced to a disk.
var ErrNoDisk = errors.New("no file system has files that can be synced")

// New resolves the paths. It fails if one does not exist, and with ErrNoDisk.
func New(o Options) (*Watcher, error) {
	if len(o.Paths) == 0 && o.PID != 0 {
		o.Paths = []string{"/"}
	}
	roots, err := findSyncRoots(o.Node, o.PID, o.Paths)
	if err != nil {
		return nil, err
	}
	if len(roots.devices) == 0 {
		return nil, fmt.Errorf("%w below %v: name another --path", ErrNoDisk, o.Paths)
	}
	return &Watcher{o: o, roots: roots, unwanted: unwantedHooks(roots, o)}, nil
}

// Globals are the values of the object's variables.
func (f *Watcher) Globals() probe.Globals {
	return probe.FsyncGlobals{
		Everything: len(f.o.Paths) == 0, AllSync: f.o.AllSync, ByNetns: f.o.ByNetns, Limit: f.o.Limit, Switches: f.o.Stages,
	}
}

// Unwanted are the hooks that nothing below the paths needs. A tracepoint of a syscall costs every syscall of the node
// about 40 ns, so none is attached without need.
func (f *Watcher) Unwanted() []string { return f.unwanted }

func unwantedHooks(roots syncRoots, o Options) []string {
	hooks := slices.Collect(maps.Values(roots.devices))
	var unwanted []string
	if !o.Stages {
		unwanted = append(unwanted, probe.HookSyncWaits)
	}
	if !slices.Contains(hooks, hookExt4) {
		unwanted = append(unwanted, probe.HookExt4)
	}
	if !slices.Contains(hooks, hookSyscall) {
		unwanted = append(unwanted, probe.HookFsync, probe.HookMsync)
		if !o.AllSync {
			unwanted = append(unwanted, probe.HookRange)
		}
	}
	return unwanted
}

// attached reports whether what a file system needs was wanted from the start.
func (f *Watcher) attached(h syncHook) bool {
	name := map[syncHook]string{hookExt4: probe.HookExt4, hookSyscall: probe.HookFsync}[h]
	return !slices.Contains(f.unwanted, name)
}

// Prepare fills the maps that the kernel half looks into.
func (f *Watcher) Prepare(m probe.Maps) error {
	f.maps = m
	return f.fill()
}

func (f *Watcher) fill() error {
	for dev, hook := range f.roots.devices {
		if err := f.maps(probe.Fsync, "devices").Put(dev, uint32(hook)); err != nil {
			return fmt.Errorf("fsync: device %s: %w", event.DeviceNumber(dev), err)
		}
	}
	for p, i := range f.roots.index {
		if err := f.maps(probe.Fsync, "roots").Put(bpf.FsyncFileId{Dev: p.dev, Ino: p.ino}, i); err != nil {
			return fmt.Errorf("fsync: root %s: %w", f.roots.names[i], err)
		}
		f.control.InoSet |= 1 << (p.ino % 64)
	}
	return f.setControl()
}

func (f *Watcher) setControl() error {
	if err := f.maps(probe.Fsync, "control").Put(uint32(0), f.control); err != nil {
		return fmt.Errorf("fsync: control: %w", err)
	}
	return nil
}

// Raise sets the latency below which the kernel half need not send a sync. If it fails, more are sent.
func (f *Watcher) Raise(floor time.Duration) {
	f.control.Floor = uint64(floor)
	_ = f.setControl()
}

// Begin returns the facts that the stream starts with.
func (f *Watcher) Begin() ([]event.Fact, error) { return f.scope(), nil }

// scope returns what is watched, if that has changed.
func (f *Watcher) scope() []event.Fact {
	s := event.FsyncScope{
		Paths: f.o.Paths, Limit: f.o.Limit, Strict: f.o.Strict,
		Roots: f.roots.names, Mounts: f.roots.mounts, Unwatched: f.missed,
	}
	if f.reported.Limit != 0 && slices.Equal(s.Roots, f.reported.Roots) && slices.Equal(s.Mounts, f.reported.Mounts) {
		return nil
	}
	f.reported = s
	return []event.Fact{{Fsync: &event.FsyncFact{Scope: &s}}}
}

// Poll looks whether the paths are still where they were, and reads the counts.
func (f *Watcher) Poll(m probe.Maps) ([]event.Fact, error) {
	if err := f.follow(); err != nil {
		return nil, err
	}
	counts, err := f.counts(m)
	if err != nil {
		return nil, err
	}
	return append(f.scope(), event.Fact{Fsync: &event.FsyncFact{Counts: &counts}}), nil
}

// follow adds what has been mounted or made anew since: a restore deletes a directory and makes it again. What is gone
// stays, for its files may be open. Indexes stay too, for records refer to them.
func (f *Watcher) follow() error {
	now, err := findSyncRoots(f.o.Node, f.o.PID, f.o.Paths)
	if err != nil {
		return nil // the directory, or the process, is gone: it may come back
	}
	fresh := false
	for p, i := range now.index {
		if _, ok := f.roots.index[p]; !ok {
			f.roots.put(p, now.names[i], now.devices[p.dev])
			fresh = true
			if !f.attached(now.devices[p.dev]) {
				f.missed = append(f.missed, now.names[i])
			}
		}
	}
	for dev, hook := range now.devices {
		if _, ok := f.roots.devices[dev]; !ok {
			f.roots.devices[dev] = hook
			fresh = true
		}
	}
	f.roots.mounts = now.mounts
	if !fresh {
		return nil
	}
	return f.fill()
}

// counts reads the kernel half's state: syncs in flight first, so that one that ends meanwhile is counted twice and not
// missed.
func (f *Watcher) counts(m probe.Maps) (event.FsyncCounts, error) {
	c := event.FsyncCounts{Histograms: map[event.FsyncClass]fio.Histogram{}, Over: map[event.FsyncClass]event.FsyncOver{}}
	var err error
	if c.InFlight, err = f.inFlight(m(probe.Fsync, "inflight")); err != nil {
		return c, err
	}
	if err := f.readHistograms(m, &c); err != nil {
		return c, err
	}
	c.Counts, err = probe.KindCounts(m(probe.Fsync, probe.CountsMap), uint32(bpf.FsyncKindKIND_FSYNC))
	return c, err
}

func (f *Watcher) readHistograms(m probe.Maps, into *event.FsyncCounts) error {
	for number, class := range event.FsyncClasses() {
		if err := f.readTotals(m, uint32(number), class, into); err != nil {
			return err
		}
	}
	return readBuckets(m(probe.Fsync, "histogram"), into.Histograms)
}

// readBuckets adds what the map has counted. It is mapped memory: a system call for each bucket would be 20,000 a second,
// and while a map is read the kernel skips tracepoint programs of tasks that preempt the reader (bpf_prog_active).
func readBuckets(m *ebpf.Map, into map[event.FsyncClass]fio.Histogram) error {
	memory, err := m.Memory()
	if err != nil {
		return fmt.Errorf("fsync: histogram: %w", err)
	}
	const size = 8 // of a count
	counts := make([]byte, size*int(m.MaxEntries()))
	if _, err := memory.ReadAt(counts, 0); err != nil {
		return fmt.Errorf("fsync: histogram: %w", err)
	}
	for i := range m.MaxEntries() {
		n := binary.NativeEndian.Uint64(counts[size*i:])
		if n == 0 {
			continue
		}
		class := event.NewFsyncClass(i / fio.Buckets)
		h := into[class]
		if h.Counts == nil {
			h.Counts = map[uint16]uint64{}
		}
		h.Counts[uint16(i%fio.Buckets)] = n
		into[class] = h
	}
	return nil
}

// readTotals adds up what the CPUs have counted of a class.
func (f *Watcher) readTotals(m probe.Maps, number uint32, class event.FsyncClass, into *event.FsyncCounts) error {
	var perCPU []bpf.FsyncTotals
	if err := m(probe.Fsync, "totals").Lookup(number, &perCPU); err != nil {
		return fmt.Errorf("fsync: totals: %w", err)
	}
	var h fio.Histogram
	var all bpf.FsyncTotals
	for _, t := range perCPU {
		h.Merge(fio.Histogram{
			N: t.N, Sum: t.Sum, SquareLo: t.SquareLo, SquareHi: t.SquareHi, Min: t.Min, Max: t.Max, Over: t.Over,
		})
		all.Known += t.Known
		all.KnownSum += t.KnownSum
		all.Starved += t.Starved
		for i, waited := range t.Waited {
			all.Waited[i] += waited
		}
	}
	into.Histograms[class] = h
	if all.Known > 0 {
		into.Over[class] = event.FsyncOver{N: all.Known, Starved: all.Starved, Stages: event.NewFsyncTimes(time.Duration(all.KnownSum), all.Waited, f.o.Stages)}
	}
	return nil
}

// inFlight lists the syncs that have begun and not ended, oldest first.
func (f *Watcher) inFlight(m *ebpf.Map) ([]event.FsyncInFlight, error) {
	var key bpf.FsyncInflightKey
	var s bpf.FsyncInflight
	var all []event.FsyncInFlight
	entries := m.Iterate()
	for entries.Next(&key, &s) {
		begun := time.Duration(s.Start)
		all = append(all, event.FsyncInFlight{
			Begun: begun, Age: max(boot.Now()-begun, 0),
			PID: s.Pid, TID: key.Tid, Comm: f.o.Node.Process(s.Pid).TaskComm(key.Tid), Cgroup: s.Cgroup,
			Op: event.NewFsyncOp(s.Op, s.Syscall), Class: event.NewFsyncClass(s.Class),
			Path: f.openPath(s.Pid, place{dev: s.Dev, ino: s.Ino}),
		})
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("fsync: syncs in flight: %w", err)
	}
	slices.SortFunc(all, func(a, b event.FsyncInFlight) int { return int(a.Begun - b.Begun) })
	return all, nil
}

// maxFiles is how many descriptors of a process are looked at.
const maxFiles = 1 << 16

// openPath names a file by the descriptors of the process that syncs it.
func (f *Watcher) openPath(pid uint32, p place) string {
	likely := ""
	for file := range f.o.Node.Process(pid).Files(maxFiles) {
		dev, ino, ok := file.Inode()
		if !ok || ino != p.ino {
			continue
		}
		if dev == p.dev {
			return file.Link()
		}
		likely = file.Link() // overlays and btrfs show devices of their own
	}
	return likely
}
