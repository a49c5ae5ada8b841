// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/fio"
)

// TestFsyncWindowsHaveCausesOfTheirOwn has syncs be slow in each window, for another reason each time. What the node reports
// of limits and disks counts on from window to window.
func TestFsyncWindowsHaveCausesOfTheirOwn(t *testing.T) {
	const limit, window, mega = 10 * time.Millisecond, 15 * time.Second, 1_000_000
	var slowest *event.FsyncSlow
	forgotten := 0
	r := &Fsync{
		Window:  window,
		Slowest: func(event.FsyncClass) (event.FsyncSlow, bool) { return *slowest, true },
		Forget:  func() { forgotten++ },
	}
	throttled := event.IOLimit{PID: 3, Device: "8:1", Cgroup: "/cg", Disk: "8:0", IOPS: 40}
	disk := event.DiskUse{Device: "8:1", Disk: "8:0"}
	starved := event.CPULimit{PID: 3, Cgroup: "/cg", CPUs: 0.5}
	var h fio.Histogram
	var over event.FsyncOver
	at := time.Unix(100, 0)
	learn := func(f event.Fact) { r.Observe(event.Event{Header: event.Header{Time: at}, Body: f}) }
	learn(event.Fact{Fsync: &event.FsyncFact{Scope: &event.FsyncScope{Limit: limit, Paths: []string{"/d"}}}})
	for i, step := range []struct {
		writes  uint64        // of the group with the limit
		busy    time.Duration // of the disk
		dd      uint64        // bytes of a neighbour
		stopped uint64        // periods
		starved bool
		want    string
		says    string
	}{
		{600, 0, 0, 0, false, "fsync-throttled", "600 writes, 0 bytes in 15s"},
		{10, window, 500 * mega, 90, false, "fsync-neighbour", "dd/4 wrote 500000000"},
		{10, 0, 0, 0, false, "fsync-slow", ""},
		{0, 0, 0, 7, true, "fsync-cpu-starved", "reached in 7 of 100 periods"},
		{600, 0, 0, 0, false, "fsync-throttled", "600 writes, 0 bytes in 15s"},
	} {
		for range 100 {
			h.Add(30*time.Millisecond, limit)
		}
		at = at.Add(window)
		slowest = &event.FsyncSlow{Time: at, Process: event.Process{PID: 3}, Fsync: event.Fsync{Device: "8:1", Latency: 30 * time.Millisecond}}
		throttled.Writes, throttled.Span = throttled.Writes+step.writes, throttled.Span+window
		disk.Span, disk.Busy, disk.Written = disk.Span+window, disk.Busy+step.busy, disk.Written+step.dd
		disk.Writers = []event.DiskWriter{{PID: 4, Comm: "dd", Bytes: disk.Written}}
		starved.Periods, starved.Throttled = starved.Periods+100, starved.Throttled+step.stopped
		l, u, c := throttled, disk, starved
		var now fio.Histogram
		now.Merge(h)
		over.N = h.N
		if step.starved {
			over.Starved += 100
		}
		learn(event.Fact{IOLimit: &l})
		learn(event.Fact{DiskUse: &u})
		learn(event.Fact{CPULimit: &c})
		learn(event.Fact{Fsync: &event.FsyncFact{Counts: &event.FsyncCounts{
			Histograms: map[event.FsyncClass]fio.Histogram{event.FsyncWAL: now},
			Over:       map[event.FsyncClass]event.FsyncOver{event.FsyncWAL: over},
		}}})
		found := r.Flush(at, false)
		if len(found) != 1 || found[0].ID != step.want || !strings.Contains(strings.Join(found[0].Evidence, "\n"), step.says) {
			t.Errorf("window %d: found %+v, want %s: %q", i, found, step.want, step.says)
		}
		if forgotten != i+1 {
			t.Errorf("window %d: the slowest were forgotten %d times", i, forgotten)
		}
	}
}

// TestAFileIsJudgedByWhatItHas: of a run that began long before the file what was counted until then is no part, unless
// the files before are read too.
func TestAFileIsJudgedByWhatItHas(t *testing.T) {
	const limit = 10 * time.Millisecond
	counts := func(good, slow int) *event.FsyncCounts {
		var h fio.Histogram
		for range good {
			h.Add(time.Millisecond, limit)
		}
		for range slow {
			h.Add(30*time.Millisecond, limit)
		}
		return &event.FsyncCounts{Histograms: map[event.FsyncClass]fio.Histogram{event.FsyncWAL: h}}
	}
	scope := event.FsyncFact{Scope: &event.FsyncScope{Limit: limit}}
	first := []event.FsyncFact{scope, {Counts: counts(100000, 0)}}
	second := []event.FsyncFact{scope, {Before: counts(100000, 0)}, {Counts: counts(100000, 50)}}
	for _, tt := range []struct {
		name  string
		facts []event.FsyncFact
		count uint64
	}{
		{"the second alone", second, 50},
		{"both", append(first, second...), 0}, // 50 of 100,050 is less than one in a hundred
		{"a whole run", []event.FsyncFact{scope, {Counts: counts(0, 50)}}, 50},
	} {
		r := &Fsync{}
		for i, f := range tt.facts {
			r.Observe(event.Event{Header: event.Header{Time: time.Unix(int64(100+i), 0)}, Body: event.Fact{Fsync: &f}})
		}
		found := r.Flush(time.Unix(200, 0), true)
		if len(found) > 1 || len(found) == 1 && found[0].Count != tt.count || len(found) == 0 && tt.count > 0 {
			t.Errorf("%s: found %+v, want %d", tt.name, found, tt.count)
		}
	}
}
