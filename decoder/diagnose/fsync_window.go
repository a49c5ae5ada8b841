// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"maps"
	"time"

	"ktrace/decoder/event"
)

// fsyncState is what was counted until some time, of the syncs and of what may hold them up.
type fsyncState struct {
	counts event.FsyncCounts
	limits map[ioKey]event.IOLimit
	cpus   map[uint32]event.CPULimit // by process
	disks  map[string]event.DiskUse  // by file system
}

// ioKey is whose limit for what file system's disk.
type ioKey struct {
	pid    uint32
	device string
}

func (r *Fsync) learn(at time.Time, f event.Fact) {
	if l := f.IOLimit; l != nil {
		k := ioKey{l.PID, l.Device}
		put(&r.now.limits, k, *l)
		if used := l.Since(r.base.limits[k]); used.Used() >= r.limits[k].Used() { // when there was nothing to write, it says nothing
			put(&r.limits, k, used)
		}
	}
	if l := f.CPULimit; l != nil {
		put(&r.now.cpus, l.PID, *l)
	}
	if u := f.DiskUse; u != nil {
		put(&r.now.disks, u.Device, *u)
	}
	if f.Fsync == nil {
		return
	}
	if r.begun.IsZero() {
		r.begun = at
	}
	if f.Fsync.Scope != nil {
		r.scope = *f.Fsync.Scope
	}
	if f.Fsync.Before != nil && r.now.counts.Histograms == nil { // no file of the run was read before
		r.base.counts, r.begun = *f.Fsync.Before, at
	}
	if f.Fsync.Counts != nil {
		r.now.counts = *f.Fsync.Counts
	}
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	if _, known := (*m)[k]; known || len(*m) < maxPlaces {
		(*m)[k] = v
	}
}

// next begins the next window. Limits are reported every second as long as they are there, so one that is reported no more is gone;
// disks only while they are slow.
func (r *Fsync) next(now time.Time) {
	r.base, r.begun = r.now, now
	r.now = fsyncState{counts: r.base.counts, disks: maps.Clone(r.base.disks)}
	r.limits = nil
	if r.Forget != nil {
		r.Forget()
	}
}
