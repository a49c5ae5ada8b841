// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/fio"
)

// run shows the rule a run with these syncs and returns what it found.
func judgeRun(strict bool, class event.FsyncClass, n, over int, errs ...string) []event.Finding {
	const limit = 10 * time.Millisecond
	var h fio.Histogram
	for i := range n {
		latency := time.Millisecond
		if i < over {
			latency = 30 * time.Millisecond
		}
		h.Add(latency, limit)
	}
	r := NewState().Grade(&Fsync{})
	var found []event.Finding
	at := time.Unix(100, 0)
	events := []event.Body{
		event.Fact{Fsync: &event.FsyncFact{Scope: &event.FsyncScope{Paths: []string{"/var/lib/etcd"}, Limit: limit, Strict: strict}}},
		event.Fact{Fsync: &event.FsyncFact{Counts: &event.FsyncCounts{Histograms: map[event.FsyncClass]fio.Histogram{class: h}}}},
	}
	for _, e := range errs {
		events = append(events, event.Fsync{Op: "fdatasync", Path: "/it's", Error: e, Device: "7:0"})
	}
	for _, body := range events {
		found = append(found, r.Observe(event.Event{Header: event.Header{Time: at, PID: 3, Comm: "etcd"}, Body: body})...)
		found = append(found, r.Flush(at, false)...)
	}
	return append(found, r.Flush(at, true)...)
}

func TestFsyncRule(t *testing.T) {
	for _, c := range []struct {
		name    string
		strict  bool
		class   event.FsyncClass
		n, over int
		errs    []string
		want    []string
	}{
		{name: "a good disk", class: event.FsyncWAL, n: 1000},
		{name: "too few to judge", class: event.FsyncWAL, n: 40, over: 1},
		{name: "a slow log", class: event.FsyncWAL, n: 1000, over: 30, want: []string{"fsync-slow"}},
		{name: "a slow database, about which there is no rule", class: event.FsyncDB, n: 1000, over: 30},
		{name: "a slow database held against the user's limit", strict: true, class: event.FsyncDB, n: 1000, over: 30, want: []string{"fsync-slow"}},
		{name: "data that the device did not take", class: event.FsyncWAL, n: 1, errs: []string{"EIO"}, want: []string{"fsync-error"}},
		{name: "an error without a text of its own", class: event.FsyncWAL, n: 1, errs: []string{"errno 999"}, want: []string{"fsync-error"}},
		{name: "a call that asked for the impossible", class: event.FsyncWAL, n: 1, errs: []string{"EINVAL", "EINTR"}},
		{name: "nothing at all", class: event.FsyncWAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := judgeRun(c.strict, c.class, c.n, c.over, c.errs...)
			var ids []string
			for _, f := range found {
				ids = append(ids, f.ID)
				if f.Title == "" || f.Cause == "" || f.Subject == "" || len(f.Evidence) == 0 || len(f.Remedy) == 0 || f.First.IsZero() || f.Severity != event.Critical {
					t.Errorf("%s lacks something: %+v", f.ID, f)
				}
			}
			if strings.Join(ids, " ") != strings.Join(c.want, " ") {
				t.Errorf("found %v, want %v", ids, c.want)
			}
		})
	}
}

func TestFsyncFindingsSayWhatTheyRestOn(t *testing.T) {
	slow := judgeRun(false, event.FsyncWAL, 1000, 30)[0]
	for _, part := range []string{"wal", "/var/lib/etcd", "P99 is 30ms", "10ms"} {
		if !strings.Contains(slow.Title, part) {
			t.Errorf("title lacks %q: %s", part, slow.Title)
		}
	}
	if !strings.Contains(slow.Evidence[0], "30 of 1000") || slow.Count != 30 {
		t.Errorf("evidence %q, count %d", slow.Evidence, slow.Count)
	}
	failed := judgeRun(false, event.FsyncWAL, 1, 0, "ENOSPC")[0]
	if !strings.Contains(failed.Evidence[0], "etcd (pid 3)") || failed.Subject != "/it's" {
		t.Errorf("evidence %q about %s", failed.Evidence, failed.Subject)
	}
	if want := `df -h '/it'\''s'`; failed.Remedy[0].Run != want {
		t.Errorf("remedy %q, want %q: it must work as printed", failed.Remedy[0].Run, want)
	}
}

func TestFsyncThatHangsIsReportedOnlyIfItIsLongAndJudged(t *testing.T) {
	for _, c := range []struct {
		name  string
		class event.FsyncClass
		age   time.Duration
		want  int
	}{
		{"a log's, for long", event.FsyncWAL, 12 * time.Second, 1},
		{"a log's, just begun", event.FsyncWAL, 200 * time.Millisecond, 0},
		{"a file's about which there is no rule", event.FsyncOther, 12 * time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Fsync{Pod: func(cgroup uint64) event.Pod { return event.Pod{Name: fmt.Sprint("etcd-", cgroup)} }}
			counts := event.FsyncCounts{InFlight: []event.FsyncInFlight{{Age: c.age, PID: 3, Comm: "etcd", Cgroup: 7, Op: "fdatasync", Class: c.class, Path: "/w/0.wal"}}}
			for _, f := range []event.FsyncFact{{Scope: &event.FsyncScope{Limit: 10 * time.Millisecond}}, {Counts: &counts}} {
				r.Observe(event.Event{Header: event.Header{Time: time.Unix(100, 0)}, Body: event.Fact{Fsync: &f}})
			}
			found := r.Flush(time.Unix(100, 0), true)
			if len(found) != c.want {
				t.Fatalf("found %+v", found)
			}
			for _, f := range found {
				if f.ID != "fsync-slow" || f.Pod.Name != "etcd-7" || !strings.Contains(f.Title, "fdatasync of /w/0.wal has not ended for 12") {
					t.Errorf("found %+v", f)
				}
			}
		})
	}
}

// overLimit is what the rule finds of 300 syncs, of which so many were over the limit, so many of them for want of a CPU.
func overLimit(t *testing.T, over, starved uint64, more ...event.Fact) event.Finding {
	t.Helper()
	const limit = 10 * time.Millisecond
	var h fio.Histogram
	for i := range uint64(300) {
		latency := time.Millisecond
		if i < over {
			latency = 30 * time.Millisecond
		}
		h.Add(latency, limit)
	}
	slowest := event.FsyncSlow{Process: event.Process{PID: 3, Comm: "etcd"}, Fsync: event.Fsync{Device: "8:1", Latency: 30 * time.Millisecond}}
	r := &Fsync{
		Slowest: func(event.FsyncClass) (event.FsyncSlow, bool) { return slowest, true },
		Pod: func(cgroup uint64) event.Pod {
			return event.Pod{Namespace: "shop", Name: fmt.Sprint("pod-", cgroup)}
		},
	}
	sum := time.Duration(over) * 30 * time.Millisecond
	queued := time.Duration(starved) * 25 * time.Millisecond
	counts := event.FsyncCounts{
		Histograms: map[event.FsyncClass]fio.Histogram{event.FsyncWAL: h},
		Over: map[event.FsyncClass]event.FsyncOver{event.FsyncWAL: {
			N: over, Starved: starved, Stages: event.FsyncTimes{event.StageRunQueue: queued, event.StageDevice: sum - queued}}},
	}
	facts := append(more, event.Fact{Fsync: &event.FsyncFact{Scope: &event.FsyncScope{Limit: limit, Paths: []string{"/d"}}}},
		event.Fact{Fsync: &event.FsyncFact{Counts: &counts}})
	for _, f := range facts {
		r.Observe(event.Event{Header: event.Header{Time: time.Unix(100, 0)}, Body: f})
	}
	found := r.Flush(time.Unix(100, 0), true)
	if len(found) != 1 {
		t.Fatalf("found %+v", found)
	}
	return found[0]
}

func TestSlowSyncsThatWaitForACPUAreNotTheDisks(t *testing.T) {
	quota := event.Fact{CPULimit: &event.CPULimit{PID: 3, Cgroup: "/cg", CPUs: 0.5, Periods: 100, Throttled: 90, Stopped: time.Second}}
	others := event.Fact{CPULimit: &event.CPULimit{PID: 4, Cgroup: "/another", CPUs: 0.5, Periods: 100, Throttled: 90}}
	for _, c := range []struct {
		name          string
		over, starved uint64
		facts         []event.Fact
		id            string
		sure          event.Confidence
		says, not     string
	}{
		{"none of them", 30, 0, nil, "fsync-slow", event.Certain, "100 % waiting for the device", "limit in"},
		{"fewer than half", 30, 14, nil, "fsync-slow", event.Certain, "39 % waiting for a CPU", "limit in"},
		{"half, and less than half of the time", 30, 15, nil, "fsync-slow", event.Certain, "42 % waiting for a CPU", "limit in"},
		{"most, but others are slow too", 30, 20, nil, "fsync-cpu-starved", event.Likely, "in 20 of 30 over the limit", "limit in"},
		{"all", 30, 30, []event.Fact{others}, "fsync-cpu-starved", event.Certain, "in 30 of 30 over the limit", "limit in"},
		{"all, by a limit", 30, 30, []event.Fact{quota}, "fsync-cpu-starved", event.Certain,
			"limit in /cg: 0.50 CPUs, reached in 90 of 100 periods, stopped for 1s", "/another"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := overLimit(t, c.over, c.starved, c.facts...)
			text := strings.Join(f.Evidence, "\n")
			if f.ID != c.id || f.Confidence != c.sure || f.Count != c.over {
				t.Errorf("found %s, %s, %d times, want %s, %s", f.ID, f.Confidence, f.Count, c.id, c.sure)
			}
			if !strings.Contains(text, c.says) || strings.Contains(text, c.not) {
				t.Errorf("evidence %s\nwant %q and not %q", text, c.says, c.not)
			}
		})
	}
}

func TestSlowSyncsWaitForWhatKeepsTheDiskOrTheCPUsBusy(t *testing.T) {
	const second, mega = time.Second, 1_000_000
	etcd, dd := event.DiskWriter{PID: 3, Comm: "etcd", Bytes: mega}, event.DiskWriter{PID: 4, Comm: "dd", Cgroup: 9, Bytes: 40 * mega}
	use := func(device string, busy time.Duration, written uint64, writers ...event.DiskWriter) event.Fact {
		return event.Fact{DiskUse: &event.DiskUse{Device: device, Disk: "8:0", Span: 2 * second, Busy: busy, Written: written * mega, Writers: writers}}
	}
	pressed := func(device string, cpuWait time.Duration, ios uint64, waited time.Duration) event.Fact {
		return event.Fact{DiskUse: &event.DiskUse{Device: device, Disk: "8:0", Span: 2 * second, IOs: ios, Waited: waited, CPUWait: cpuWait}}
	}
	for _, c := range []struct {
		name    string
		starved uint64
		facts   []event.Fact
		id      string
	}{
		{"a neighbour", 0, []event.Fact{use("8:1", 2*second, 45, dd, etcd)}, "fsync-neighbour"},
		{"a neighbour whose writes wait in memory", 0, []event.Fact{use("8:1", 2*second, 10, dd)}, "fsync-neighbour"},
		{"one of many", 0, []event.Fact{use("8:1", 2*second, 200, dd, etcd)}, "fsync-slow"},
		{"a disk with little to do", 0, []event.Fact{use("8:1", second/2, 45, dd, etcd)}, "fsync-slow"},
		{"on another disk", 0, []event.Fact{use("8:17", 2*second, 45, dd)}, "fsync-slow"},
		{"its own writes", 0, []event.Fact{use("8:1", 2*second, 45, event.DiskWriter{PID: 3, Comm: "etcd", Bytes: 40 * mega})}, "fsync-slow"},
		{"a neighbour that writes as much", 0, []event.Fact{use("8:1", 2*second, 70, dd, event.DiskWriter{PID: 3, Comm: "etcd", Bytes: 30 * mega})}, "fsync-slow"},
		{"a neighbour, when there is no CPU", 30, []event.Fact{use("8:1", 2*second, 45, dd, etcd)}, "fsync-cpu-starved"},
		{"CPUs that are short, and a fast disk", 0, []event.Fact{pressed("8:1", second, 1000, second)}, "fsync-cpu-starved"},
		{"CPUs that are short, and a slow disk", 0, []event.Fact{pressed("8:1", second, 100, second)}, "fsync-slow"},
		{"CPUs that are short, and nothing known of the disk", 0, []event.Fact{pressed("8:1", second, 0, 0)}, "fsync-slow"},
		{"CPUs that are free, and a fast disk", 0, []event.Fact{pressed("8:1", second/10, 1000, second)}, "fsync-slow"},
		{"what was reported before", 0, []event.Fact{use("8:1", 2*second, 45, dd), use("8:1", second/2, 45, dd)}, "fsync-slow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := overLimit(t, 30, c.starved, c.facts...)
			if f.ID != c.id {
				t.Fatalf("found %s, want %s", f.ID, c.id)
			}
			evidence := strings.Join(f.Evidence, "\n")
			if strings.HasPrefix(c.name, "CPUs that are short") && (f.Confidence != event.Likely || !strings.Contains(evidence, "tasks waited for a CPU for 50 %")) {
				t.Errorf("found %+v", f)
			}
			if c.id == "fsync-neighbour" && (!strings.Contains(f.Title, "dd/4 of shop/pod-9") || f.Peer.Name != "pod-9" || !strings.Contains(evidence, "dd/4 wrote 40000000")) {
				t.Errorf("found %+v", f)
			}
		})
	}
}

// TestFsyncWindowsAreJudgedByThemselves has the disk be good for long, then slow, then good again.
func TestFsyncWindowsAreJudgedByThemselves(t *testing.T) {
	const limit, window = 10 * time.Millisecond, 15 * time.Second
	r := &Fsync{Window: window}
	var h fio.Histogram
	at := time.Unix(100, 0)
	counted := func(n int, latency time.Duration) []event.Finding {
		for range n {
			h.Add(latency, limit)
		}
		at = at.Add(window)
		var now fio.Histogram
		now.Merge(h)
		r.Observe(event.Event{Header: event.Header{Time: at}, Body: event.Fact{Fsync: &event.FsyncFact{
			Counts: &event.FsyncCounts{Histograms: map[event.FsyncClass]fio.Histogram{event.FsyncWAL: now}}}}})
		return r.Flush(at, false)
	}
	r.Observe(event.Event{Header: event.Header{Time: at}, Body: event.Fact{Fsync: &event.FsyncFact{Scope: &event.FsyncScope{Limit: limit}}}})
	for i, step := range []struct {
		n       int
		latency time.Duration
		want    int
	}{{10000, time.Millisecond, 0}, {50, 30 * time.Millisecond, 1}, {1000, time.Millisecond, 0}} {
		if found := counted(step.n, step.latency); len(found) != step.want || step.want > 0 && (found[0].ID != "fsync-slow" || found[0].Count != uint64(step.n)) {
			t.Errorf("window %d: %+v", i, found)
		}
	}
}
