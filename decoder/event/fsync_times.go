// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// FsyncTimes say where the time of one or more syncs went, by stage. They sum to the syncs' latency.
type FsyncTimes map[FsyncTime]time.Duration

// FsyncTime is what a task that syncs does or waits for.
type FsyncTime string

// Where the time of a sync goes. The scheduler knows whether a task sleeps for I/O (task_struct.in_iowait).
const (
	StageCPU      FsyncTime = "cpu"       // it runs
	StageRunQueue FsyncTime = "run_queue" // it could run and has no CPU
	StageDevice   FsyncTime = "device"    // it sleeps until I/O of its own is done
	StageJournal  FsyncTime = "journal"   // it sleeps until another task has committed the journal, or lets go of a lock
	StageOther    FsyncTime = "other"     // all but the run queue, where the switches of tasks were not watched
)

// NewFsyncTimes sorts a latency by stages. waited is in the order of the kernel half's enum fsync_wait; the scheduler's
// clock is another than that of the latency, and still the parts are not more than the whole. split says whether more
// is known than the time in the run queue.
func NewFsyncTimes(latency time.Duration, waited [3]uint64, split bool) FsyncTimes {
	all, rest := FsyncTimes{}, StageOther
	if split {
		rest = StageCPU
	}
	for i, stage := range slices.Backward([]FsyncTime{StageJournal, StageDevice, StageRunQueue}) {
		if split || stage == StageRunQueue {
			all[stage] = time.Duration(min(waited[i], uint64(max(latency, 0))))
			latency -= all[stage]
		}
	}
	all[rest] = latency
	return all
}

// Sum is the latency.
func (t FsyncTimes) Sum() time.Duration {
	var sum time.Duration
	for _, d := range t {
		sum += d
	}
	return sum
}

// Share is the part that a stage has of all, 0 if there is no time.
func (t FsyncTimes) Share(stage FsyncTime) float64 {
	return float64(t[stage]) / float64(max(t.Sum(), 1))
}

// Longest is the stage that took the most time, "" if none is known.
func (t FsyncTimes) Longest() FsyncTime {
	if len(t) == 0 {
		return ""
	}
	return t.ranked()[0]
}

// ranked are the stages, the longest first.
func (t FsyncTimes) ranked() []FsyncTime {
	return slices.SortedFunc(maps.Keys(t), func(a, b FsyncTime) int {
		return cmp.Or(cmp.Compare(t[b], t[a]), cmp.Compare(a, b))
	})
}

// String lists all stages, the longest first: "93 % waiting for the device, 5 % ...".
func (t FsyncTimes) String() string {
	texts := map[FsyncTime]string{
		StageCPU: "running", StageRunQueue: "waiting for a CPU", StageDevice: "waiting for the device", StageJournal: "waiting for the journal",
		StageOther: "waiting for the disk, or running",
	}
	var parts []string
	for _, stage := range t.ranked() {
		parts = append(parts, fmt.Sprintf("%.0f %% %s", 100*t.Share(stage), texts[stage]))
	}
	return strings.Join(parts, ", ")
}

// FsyncOver is what is known of the syncs over the limit.
type FsyncOver struct {
	N       uint64     `json:"n"` // of which it is known where the time went
	Stages  FsyncTimes `json:"stages"`
	Starved uint64     `json:"starved"` // that waited longer for a CPU than all else took
}

// Since is what was counted after a moment at which it was as before.
func (o FsyncOver) Since(before FsyncOver) FsyncOver {
	o.N, o.Starved = o.N-before.N, o.Starved-before.Starved
	o.Stages = maps.Clone(o.Stages)
	for stage, spent := range before.Stages {
		o.Stages[stage] -= spent
	}
	return o
}
