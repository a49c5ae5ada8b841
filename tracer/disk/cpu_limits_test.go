// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"path/filepath"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/tracer/procfs"
)

// TestCPULimitsAreFoundInBothVersionsOfControlGroups lays out what a node would have.
func TestCPULimitsAreFoundInBothVersionsOfControlGroups(t *testing.T) {
	for _, c := range []struct {
		name   string
		cgroup string            // of the process
		files  map[string]string // below sys/fs/cgroup
		more   map[string]string // the same, later
		want   event.CPULimit
	}{
		{
			"version 1", "5:cpu,cpuacct:/pod1/c1\n0::/\n",
			map[string]string{"cpu,cpuacct/pod1/c1/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/pod1/c1/cpu.cfs_period_us": "100000\n",
				"cpu,cpuacct/pod1/c1/cpu.shares": "512\n", "cpu,cpuacct/pod1/c1/cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 5000\n"},
			map[string]string{"cpu,cpuacct/pod1/c1/cpu.stat": "nr_periods 14\nnr_throttled 6\nthrottled_time 9000\n"},
			event.CPULimit{Cgroup: "cpu,cpuacct/pod1/c1", CPUs: 0.5, Weight: 50, Periods: 4, Throttled: 3, Stopped: 4 * time.Microsecond},
		},
		{
			"version 2, of the pod", "0::/pod1/c1\n",
			map[string]string{"pod1/c1/cpu.max": "max 100000\n", "pod1/c1/cpu.weight": "79\n", "pod1/cpu.max": "200000 100000\n",
				"pod1/cpu.stat": "usage_usec 7\nnr_periods 1\nnr_throttled 1\nthrottled_usec 5\n"},
			map[string]string{"pod1/cpu.stat": "usage_usec 9\nnr_periods 3\nnr_throttled 2\nthrottled_usec 6\n"},
			event.CPULimit{Cgroup: "pod1", CPUs: 2, Weight: 79, Periods: 2, Throttled: 1, Stopped: time.Microsecond},
		},
		{
			"no limit, but a weight", "1:cpu:/low\n",
			map[string]string{"cpu/low/cpu.cfs_quota_us": "-1\n", "cpu/low/cpu.cfs_period_us": "100000\n", "cpu/low/cpu.shares": "2\n",
				"cpu/low/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"},
			nil, event.CPULimit{Cgroup: "cpu/low", Weight: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			put := partitioned(t, root, c.cgroup)
			for name, text := range c.files {
				put("sys/fs/cgroup/"+name, text)
			}
			w := NewCPULimits(procfs.At(root), time.Millisecond)
			for _, stage := range []event.FsyncTime{event.StageDevice, event.StageRunQueue} { // only the latter is asked about
				f := event.Fsync{Latency: time.Second, Stages: event.FsyncTimes{stage: time.Second}}
				facts := w.Enrich(event.Event{Header: event.Header{PID: 7}, Body: f})
				if (len(facts) == 1) != (stage == event.StageRunQueue) {
					t.Errorf("%d facts about a sync that waited for %s", len(facts), stage)
				}
			}
			for name, text := range c.more {
				put("sys/fs/cgroup/"+name, text)
			}
			facts := w.Poll()
			if len(facts) != 1 {
				t.Fatalf("%d facts", len(facts))
			}
			c.want.PID, c.want.Cgroup = 7, filepath.Join(root, "sys/fs/cgroup", c.want.Cgroup)
			if got := *facts[0].CPULimit; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
