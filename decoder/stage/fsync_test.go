// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/fio"
)

func fsyncEvent(latency time.Duration, err string) event.Event {
	return event.Event{Header: event.Header{Time: time.Unix(1, 0), PID: 1, Comm: "etcd"}, Body: event.Fsync{Latency: latency, Error: err, Path: "f"}}
}

// latencies are those of the slowest, in order.
func latencies(s *event.FsyncSummary) []time.Duration {
	var all []time.Duration
	for _, f := range s.Slowest {
		all = append(all, f.Latency)
	}
	return all
}

func TestFsyncStageKeepsTheTenSlowestInWhateverOrderTheyCome(t *testing.T) {
	s := &Fsync{}
	for i := range 100 {
		s.Observe(fsyncEvent(time.Duration(i*37%100), "")) // every number below 100 once
	}
	var sum event.Summary
	s.Summarize(&sum)
	if got, want := latencies(sum.Fsync), []time.Duration{99, 98, 97, 96, 95, 94, 93, 92, 91, 90}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFsyncStageRaisesTheFloorNoHigherThanWhatItStillNeeds(t *testing.T) {
	for _, c := range []struct {
		name string
		slow time.Duration
		want time.Duration
	}{
		{"up to the tenth slowest", 0, 90},
		{"up to what is shown as it happens", 42, 42},
	} {
		t.Run(c.name, func(t *testing.T) {
			var floor time.Duration
			s := &Fsync{Slow: c.slow, Floor: func(d time.Duration) {
				if d <= floor {
					t.Errorf("floor %d after %d", d, floor)
				}
				floor = d
			}}
			for i := range 100 {
				if l := time.Duration(i * 37 % 100); l >= floor { // as the kernel half sends them
					s.Observe(fsyncEvent(l, ""))
				}
			}
			var sum event.Summary
			s.Summarize(&sum)
			if floor != c.want || latencies(sum.Fsync)[9] != 90 {
				t.Errorf("floor %d, want %d; slowest %v", floor, c.want, latencies(sum.Fsync))
			}
		})
	}
}

func TestFsyncStageShowsSlowOnesAndFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		slow    time.Duration
		latency time.Duration
		err     string
		want    int
	}{
		{"none unless asked", 0, time.Hour, "", 0},
		{"not the fast ones", 10, 9, "", 0},
		{"the slow ones", 10, 10, "", 1},
		{"a failure however fast", 0, 1, "EIO", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Fsync{Slow: c.slow}
			if got := s.Observe(fsyncEvent(c.latency, c.err)); len(got) != c.want {
				t.Errorf("shows %d, want %d", len(got), c.want)
			}
		})
	}
}

// counted is a histogram of n syncs of a millisecond, and over that took 20.
func counted(n, over int) fio.Histogram {
	var h fio.Histogram
	for i := range n {
		latency := time.Millisecond
		if i < over {
			latency = 20 * time.Millisecond
		}
		h.Add(latency, 10*time.Millisecond)
	}
	return h
}

// afterwards is the summary of a run that ended with these counts.
func afterwards(strict bool, c event.FsyncCounts) event.Summary {
	s := &Fsync{Pod: func(cgroup uint64) event.Pod {
		return event.Pod{Namespace: "kube-system", Name: fmt.Sprintf("etcd-%d", cgroup)}
	}}
	facts := []event.Fact{
		{Node: &event.Node{Wall: time.Hour}},
		{Fsync: &event.FsyncFact{Scope: &event.FsyncScope{Paths: []string{"/var/lib/etcd"}, Limit: 10 * time.Millisecond, Strict: strict}}},
		{Fsync: &event.FsyncFact{Counts: &c}},
	}
	for _, f := range facts {
		s.Observe(event.Event{Body: f})
	}
	var sum event.Summary
	s.Summarize(&sum)
	return sum
}

func TestEverySyncIsAccountedFor(t *testing.T) {
	sum := afterwards(false, event.FsyncCounts{
		Histograms: map[event.FsyncClass]fio.Histogram{event.FsyncWAL: counted(300, 0), event.FsyncDB: counted(20, 3)},
		InFlight:   []event.FsyncInFlight{{Begun: 2 * time.Second, Age: time.Second, PID: 5, Cgroup: 9, Op: "fsync", Path: "/x"}},
		Counts:     event.Counts{Seen: 831, Filtered: 500, Lost: event.Losses{Ring: 2, Map: 10}},
	})
	if a := sum.Accounts[0].Check(); !a.Own || a.Seen != 831 || a.Shown != 300+20+1-2 || a.Filtered != 500 || a.Missing != 0 {
		t.Errorf("%v, missing %d", a, a.Missing)
	}
	stuck := sum.Fsync.InFlight[0]
	if stuck.Pod.Name != "etcd-9" || !stuck.Begun.Equal(time.Unix(3602, 0)) {
		t.Errorf("in flight: %+v", stuck)
	}
	text := strings.Join(sum.Fsync.Lines(), "\n")
	for _, part := range []string{
		"wal: 300 syncs below /var/lib/etcd\n  fsync/fdatasync/sync_file_range:\n    sync (nsec): min=1000.0k,",
		"verdict: PASS: P99 is within 10ms (0 of 300 over 10ms;", "db: 20 syncs", "still in flight: 1", "for 1s: fsync by pid 5, pod kube-system/etcd-9, /x",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("text lacks %q:\n%s", part, text)
		}
	}
}

func TestFsyncVerdictIsForTheLogAloneUnlessTheUserNamedTheLimit(t *testing.T) {
	counts := event.FsyncCounts{Histograms: map[event.FsyncClass]fio.Histogram{
		event.FsyncWAL: counted(300, 0), event.FsyncDB: counted(300, 30), event.FsyncOther: counted(10, 0), event.FsyncDir: {},
	}}
	for _, strict := range []bool{false, true} {
		want := map[event.FsyncClass]fio.Result{event.FsyncWAL: fio.Pass}
		if strict {
			want[event.FsyncDB], want[event.FsyncOther] = fio.Fail, fio.Undecided
		}
		got := map[event.FsyncClass]fio.Result{}
		for class, stats := range afterwards(strict, counts).Fsync.Classes {
			if stats.Verdict != nil {
				got[class] = stats.Verdict.Result
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("strict %v: got %v, want %v", strict, got, want)
		}
	}
}

func TestFsyncSummaryHasTheContractsNames(t *testing.T) {
	raw, err := json.Marshal(afterwards(false, event.FsyncCounts{Histograms: map[event.FsyncClass]fio.Histogram{event.FsyncWAL: counted(300, 1)}}))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Fsync struct {
			Classes map[string]struct {
				N           uint64             `json:"n"`
				Percentiles map[string]float64 `json:"percentiles_ns"`
				Over        uint64             `json:"over_limit"`
				Verdict     struct {
					Result string `json:"result"`
					Needed uint64 `json:"needed"`
				} `json:"verdict"`
			} `json:"classes"`
			Slowest, InFlight json.RawMessage
		} `json:"fsync"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	wal := s.Fsync.Classes["wal"]
	if wal.N != 300 || wal.Over != 1 || wal.Percentiles["50.00"] == 0 || len(wal.Percentiles) != 17 {
		t.Errorf("got %+v from %s", wal, raw)
	}
	if wal.Verdict.Result != "UNDECIDED" || wal.Verdict.Needed != 473-300 {
		t.Errorf("verdict %+v", wal.Verdict)
	}
}
