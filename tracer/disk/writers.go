// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/mount"
	"ktrace/tracer/procfs"
)

// Writers is the decoder.Enricher that looks, while syncs are slow, who writes to their disk, and how much: what each
// process has written, or left in memory to be written, by /proc/PID/io (CONFIG_TASK_IO_ACCOUNTING), and what the disk
// took, and how long for, by /proc/diskstats; and for how long tasks had no CPU meanwhile. A process that begins and ends
// between two looks is not seen.
type Writers struct {
	node   *procfs.FS
	slow   time.Duration
	cgroup func(pid uint32) uint64
	shared map[string]*sharedDisk // by file system
	last   diskLook
	rest   time.Duration // between looks while no disk is slow
}

// sharedDisk is a disk below a file system whose syncs are slow.
type sharedDisk struct {
	use     event.DiskUse
	until   time.Time // when it no longer counts as slow, unless another sync is slow
	writers map[uint32]*event.DiskWriter
}

// diskLook is what all processes had written at one time.
type diskLook struct {
	at      time.Time
	disks   map[string]procfs.Disk
	written map[uint32]uint64 // bytes, by process
	cpuWait time.Duration
}

const (
	maxShared    = 64
	slowFor      = 10 * time.Second // a disk counts as slow after a slow sync: of many only the slowest are reported
	idleLook     = 5 * time.Second
	idleShare    = 500      // looks while no disk is slow take at most 1/idleShare of the time
	leastWritten = 64 << 10 // bytes between two looks, below which a process is no noisy neighbour
	mostWriters  = 5        // of a disk, that are reported
	maxWriters   = 1024     // of a disk, that are kept
	maxFiles     = 1 << 12  // of one process, that are read
)

// NewWriters returns the witness; cgroup returns that of a process, 0 if it is not known. Syncs slower than slow are
// looked at.
func NewWriters(node *procfs.FS, slow time.Duration, cgroup func(pid uint32) uint64) *Writers {
	return &Writers{node: node, slow: slow, cgroup: cgroup, shared: map[string]*sharedDisk{}}
}

// Enrich implements decoder.Enricher.
func (w *Writers) Enrich(e event.Event) []event.Fact {
	f, ok := e.Body.(event.Fsync)
	if !ok || f.Latency < w.slow {
		return nil
	}
	d := w.shared[f.Device]
	if d == nil && len(w.shared) < maxShared {
		below := disksBelow(w.node.HostRoot(), f.Device)
		d = &sharedDisk{use: event.DiskUse{Device: f.Device, Disk: below[len(below)-1]}, writers: map[uint32]*event.DiskWriter{}}
		w.shared[f.Device] = d
	}
	if d != nil {
		d.until = time.Now().Add(slowFor)
	}
	return nil
}

// Poll reports which processes have written to the disks whose syncs are slow. A slow sync waits for what was written before
// it, so processes are looked at now and then even if no disk is slow.
func (w *Writers) Poll() []event.Fact {
	before, now := w.last, time.Now()
	var slow []*sharedDisk
	for _, d := range w.shared {
		if d.until.After(now) {
			slow = append(slow, d)
		}
	}
	if len(slow) == 0 && now.Sub(before.at) < w.rest {
		return nil
	}
	w.last = w.look(now)
	w.rest = max(idleLook, idleShare*time.Since(now))
	if before.at.IsZero() {
		return nil
	}
	var facts []event.Fact
	for _, d := range slow {
		w.add(d, before)
		use := d.use
		facts = append(facts, event.Fact{DiskUse: &use})
	}
	return facts
}

// look reads what all processes have written.
func (w *Writers) look(now time.Time) diskLook {
	l := diskLook{at: now, disks: w.node.Disks(), cpuWait: w.node.CPUWait(), written: map[uint32]uint64{}}
	for p := range w.node.Processes() {
		if n := p.WrittenBytes(); n > 0 {
			l.written[p.PID] = n
		}
	}
	return l
}

// add adds what was written to a disk between the last two looks.
func (w *Writers) add(d *sharedDisk, before diskLook) {
	disk, was := w.last.disks[d.use.Disk], before.disks[d.use.Disk]
	d.use.Span += w.last.at.Sub(before.at)
	d.use.Busy += max(disk.Busy-was.Busy, 0)
	d.use.Written += disk.Written - min(was.Written, disk.Written)
	d.use.IOs += disk.IOs - min(was.IOs, disk.IOs)
	d.use.Waited += max(disk.Waited-was.Waited, 0)
	d.use.CPUWait += max(w.last.cpuWait-before.cpuWait, 0)
	for pid, bytes := range w.last.written {
		wrote := bytes - min(before.written[pid], bytes)
		if wrote < leastWritten || !w.writesTo(pid, d.use.Disk) {
			continue
		}
		if len(d.writers) >= maxWriters {
			clear(d.writers)
		}
		if d.writers[pid] == nil {
			d.writers[pid] = &event.DiskWriter{PID: pid, Cgroup: w.cgroup(pid)}
		}
		d.writers[pid].Comm = w.node.Process(pid).Comm()
		d.writers[pid].Bytes += wrote
	}
	d.use.Writers = nil
	for _, writer := range slices.SortedFunc(maps.Values(d.writers), func(a, b *event.DiskWriter) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.PID, b.PID))
	}) {
		d.use.Writers = append(d.use.Writers, *writer)
	}
	d.use.Writers = d.use.Writers[:min(len(d.use.Writers), mostWriters)]
}

// writesTo reports whether a process has a file open to write that lies on a disk.
func (w *Writers) writesTo(pid uint32, disk string) bool {
	p, open := w.node.Process(pid), map[int]bool{}
	for f := range p.Files(maxFiles) {
		if info := f.Info(); info.Writable() {
			open[info.Mount] = true
		}
	}
	if len(open) == 0 {
		return false
	}
	mounts, err := mount.Of(p)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(mounts, func(m mount.Mount) bool {
		return open[m.ID] && slices.Contains(disksBelow(w.node.HostRoot(), w.device(m)), disk)
	})
}

// device is where a mount keeps what is written, as major:minor. An overlay names the directory as the node sees it, or
// as its maker chose to show it.
func (w *Writers) device(m mount.Mount) string {
	if upper := m.Super["upperdir"]; upper != "" {
		if st, err := w.node.Tree(w.node.HostRoot()).Stat(upper); err == nil {
			return fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
		}
	}
	return fmt.Sprintf("%d:%d", m.Dev>>20, m.Dev&(1<<20-1))
}
