// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ktrace/decoder/event"
	"ktrace/tracer/procfs"
)

// CPULimits is the decoder.Enricher that looks, when a sync was slow because its task had no CPU, how much of them the
// control groups of its process let it have: cpu.cfs_quota_us and cpu.shares of version 1, cpu.max and cpu.weight of
// version 2 (kernel 4.15).
type CPULimits struct {
	node   *procfs.FS
	slow   time.Duration
	limits map[uint32]*event.CPULimit // by process, as it was when it was first asked for
}

// NewCPULimits returns the witness. Syncs slower than slow are looked at.
func NewCPULimits(node *procfs.FS, slow time.Duration) *CPULimits {
	return &CPULimits{node: node, slow: slow, limits: map[uint32]*event.CPULimit{}}
}

const maxCPUAsked = 1024

// Enrich implements decoder.Enricher.
func (w *CPULimits) Enrich(e event.Event) []event.Fact {
	f, ok := e.Body.(event.Fsync)
	if !ok || f.Latency < w.slow || f.Stages.Longest() != event.StageRunQueue || w.limits[e.PID] != nil {
		return nil
	}
	if len(w.limits) >= maxCPUAsked {
		clear(w.limits)
	}
	groups := controlGroups(w.node, e.PID, "cpu")
	if len(groups) == 0 {
		return nil // it has ended
	}
	l := &event.CPULimit{PID: e.PID, Cgroup: groups[0], Weight: cpuWeight(groups[0])}
	for _, group := range groups {
		if cpus := cpusOf(group); cpus > 0 {
			l.Cgroup, l.CPUs = group, cpus
			break
		}
	}
	readThrottled(l)
	w.limits[e.PID] = l
	return []event.Fact{{CPULimit: since(*l, *l)}}
}

// Poll reports how often the groups were throttled since they were first read.
func (w *CPULimits) Poll() []event.Fact {
	var facts []event.Fact
	for _, before := range w.limits {
		now := *before
		if readThrottled(&now) {
			facts = append(facts, event.Fact{CPULimit: since(now, *before)})
		}
	}
	return facts
}

func since(now, before event.CPULimit) *event.CPULimit {
	now.Periods -= min(before.Periods, now.Periods)
	now.Throttled -= min(before.Throttled, now.Throttled)
	now.Stopped -= min(before.Stopped, now.Stopped)
	return &now
}

// cpusOf is how many CPUs a group may use at a time, 0 if there is no limit.
func cpusOf(group string) float64 {
	if f := fieldsOf(filepath.Join(group, "cpu.max")); len(f) == 2 { // "50000 100000", "max 100000"
		return float64(number(f[0])) / float64(max(number(f[1]), 1))
	}
	quota, period := fieldsOf(filepath.Join(group, "cpu.cfs_quota_us")), fieldsOf(filepath.Join(group, "cpu.cfs_period_us"))
	if len(quota) != 1 || len(period) != 1 {
		return 0
	}
	return float64(number(quota[0])) / float64(max(number(period[0]), 1)) // the quota is -1 if there is none
}

// cpuWeight is a group's weight on cgroup2's scale, where 100 is the default.
func cpuWeight(group string) uint64 {
	if f := fieldsOf(filepath.Join(group, "cpu.weight")); len(f) == 1 {
		return number(f[0])
	}
	const usual = 1024 // of version 1
	if f := fieldsOf(filepath.Join(group, "cpu.shares")); len(f) == 1 {
		return max(number(f[0])*100/usual, 1)
	}
	return 0
}

// readThrottled reads how often a group was stopped; it reports whether the group is still there.
func readThrottled(l *event.CPULimit) bool {
	f, err := os.Open(filepath.Join(l.Cgroup, "cpu.stat"))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "nr_periods":
			l.Periods = number(value)
		case "nr_throttled":
			l.Throttled = number(value)
		case "throttled_time": // version 1
			l.Stopped = time.Duration(number(value))
		case "throttled_usec":
			l.Stopped = time.Duration(number(value)) * time.Microsecond
		}
	}
	return true
}
