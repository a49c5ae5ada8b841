package decoder

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/fio"
)

// fsyncRaw is a record as the kernel half sends it: it ends with the names.
func fsyncRaw(t *testing.T, names string, change func(*fsyncRecord)) []byte {
	t.Helper()
	var r fsyncRecord
	r.Hdr = hdrRecord{Kind: uint16(kindFsync), Time: 5e9, Pid: 7, Tid: 8}
	copy(r.Hdr.Comm[:], "etcd")
	r.Latency, r.Dev, r.Ino = 12345678, 7<<20|3, 99
	r.Op, r.Class, r.Root = uint32(fsyncFdatasync), uint32(fsyncClassWal), 0xffff
	r.PathLen = uint16(copy(r.Path[:], names))
	if change != nil {
		change(&r)
	}
	whole, err := binary.Append(nil, binary.LittleEndian, r)
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:len(whole)-len(r.Path)+int(r.PathLen)]
	binary.LittleEndian.PutUint32(whole, uint32(len(whole)))
	return whole
}

func decodedFsync(t *testing.T, raw []byte) (Event, Fsync) {
	t.Helper()
	e, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e, e.Body.(Fsync)
}

func TestFsyncRecordSaysWhatWasSynced(t *testing.T) {
	e, f := decodedFsync(t, fsyncRaw(t, "0.wal\x00wal\x00member\x00", nil))
	want := Fsync{
		Op: "fdatasync", Path: "member/wal/0.wal", Class: FsyncWAL, Latency: 12345678, Device: "7:3", Inode: 99,
		dev: 7<<20 | 3, root: 0xffff,
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got %+v, want %+v", f, want)
	}
	if e.PID != 7 || e.Comm != "etcd" {
		t.Errorf("by %s/%d", e.Comm, e.PID)
	}
}

func TestFsyncRecordSaysWhereTheTimeWent(t *testing.T) {
	var f Fsync
	for _, c := range []struct {
		flags  fsyncFlags
		waited [3]uint64
		want   FsyncTimes
	}{
		{0, [3]uint64{1, 2, 3}, nil},
		{fsyncQueued, [3]uint64{0, 0, 25}, FsyncTimes{InRunQueue: 25, Elsewhere: 75}},
		{fsyncStages, [3]uint64{60, 90, 25}, FsyncTimes{InJournal: 0, OnDevice: 75, InRunQueue: 25, OnCPU: 0}},
		{fsyncStages, [3]uint64{10, 60, 25}, FsyncTimes{InJournal: 10, OnDevice: 60, InRunQueue: 25, OnCPU: 5}},
	} {
		_, f = decodedFsync(t, fsyncRaw(t, "f\x00", func(r *fsyncRecord) { r.Flags, r.Latency, r.Waited = uint32(c.flags), 100, c.waited }))
		if !reflect.DeepEqual(f.Stages, c.want) {
			t.Errorf("flags %d: got %v, want %v", c.flags, f.Stages, c.want)
		}
	}
	if want := "60 % waiting for the device, 25 % waiting for a CPU, 10 % waiting for the journal, 5 % running"; f.Stages.String() != want {
		t.Errorf("got %q, want %q", f.Stages, want)
	}
	if f.Stages.Longest() != OnDevice || FsyncTimes(nil).Longest() != "" {
		t.Errorf("longest %q, of none %q", f.Stages.Longest(), FsyncTimes(nil).Longest())
	}
}

func TestFsyncRecordsOddities(t *testing.T) {
	for _, c := range []struct {
		name   string
		names  string
		change func(*fsyncRecord)
		want   string
	}{
		{"the root itself has no names", "", nil, "12.3ms fdatasync wal "},
		{"a path that lacks its beginning says so", "b\x00a\x00", func(r *fsyncRecord) { r.Flags = uint32(fsyncTruncated) }, "12.3ms fdatasync wal .../a/b"},
		{"a deleted file is named as it was", "b\x00", func(r *fsyncRecord) { r.Flags = uint32(fsyncDeleted) }, "12.3ms fdatasync wal b (deleted)"},
		{"an error has its name", "b\x00", func(r *fsyncRecord) { r.Error = -5 }, "12.3ms fdatasync wal b: EIO"},
		{"an unknown error has its number", "b\x00", func(r *fsyncRecord) { r.Error = -999 }, "12.3ms fdatasync wal b: errno 999"},
		{"an unknown operation has its syscall's number", "b\x00", func(r *fsyncRecord) { r.Op, r.Syscall = uint32(fsyncOther), 0x123 }, "12.3ms unknown(0x123) wal b"},
		{"an unknown class has its number", "b\x00", func(r *fsyncRecord) { r.Class = 77 }, "12.3ms fdatasync unknown(0x4d) b"},
		{"a length beyond the record is cut", "b\x00", func(r *fsyncRecord) { r.PathLen = 2 }, "12.3ms fdatasync wal b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, f := decodedFsync(t, fsyncRaw(t, c.names, c.change)); f.Summary() != c.want {
				t.Errorf("got %q, want %q", f.Summary(), c.want)
			}
		})
	}
}

func TestBriefKeepsThreeDigits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 1234: "1.23µs", 597980: "598µs", 9999999: "10ms", 12345678: "12.3ms", 83 * time.Second: "1m23s",
	} {
		if got := Brief(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
}

func TestFsyncPathIsThatOfTheRootOrTheMount(t *testing.T) {
	scope := FsyncScope{
		Roots: []string{"/var/lib/etcd"},
		Mounts: []FsyncMount{
			{Dev: 1, Root: "/", Point: "/data"},
			{Dev: 1, Root: "/vol", Point: "/pods/a/mount"},
			{Dev: 1, Root: "/vol", Point: "/x"},
			{Dev: 2, Root: "/only", Point: "/elsewhere"},
		},
	}
	for _, c := range []struct {
		name string
		f    Fsync
		want string
	}{
		{"below a root", Fsync{Path: "member/db", root: 0}, "/var/lib/etcd/member/db"},
		{"the root itself", Fsync{Path: "", root: 0}, "/var/lib/etcd"},
		{"below a mount", Fsync{Path: "f", dev: 1, root: 0xffff}, "/data/f"},
		{"the closest mount, by the shortest name", Fsync{Path: "vol/f", dev: 1, root: 0xffff}, "/x/f"},
		{"a name that only begins like a mount's", Fsync{Path: "volume/f", dev: 1, root: 0xffff}, "/data/volume/f"},
		{"a part that is mounted nowhere", Fsync{Path: "f", Device: "0:2", dev: 2, root: 0xffff}, "(0:2)/f"},
		{"a root that nobody told", Fsync{Path: "f", Device: "0:9", dev: 9, root: 5}, "(0:9)/f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := scope.locate(c.f); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func fsyncEvent(latency time.Duration, err string) Event {
	return Event{Header: Header{Time: time.Unix(1, 0), PID: 1, Comm: "etcd"}, Body: Fsync{Latency: latency, Error: err, Path: "f", root: 0}}
}

// latencies are those of the slowest, in order.
func latencies(s *FsyncSummary) []time.Duration {
	var all []time.Duration
	for _, f := range s.Slowest {
		all = append(all, f.Latency)
	}
	return all
}

func TestFsyncStageKeepsTheTenSlowestInWhateverOrderTheyCome(t *testing.T) {
	s := &FsyncStage{}
	for i := range 100 {
		s.Observe(fsyncEvent(time.Duration(i*37%100), "")) // every number below 100 once
	}
	var sum Summary
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
			s := &FsyncStage{Slow: c.slow, Floor: func(d time.Duration) {
				if d <= floor {
					t.Errorf("told %d after %d", d, floor)
				}
				floor = d
			}}
			for i := range 100 {
				if l := time.Duration(i * 37 % 100); l >= floor { // as the kernel half sends them
					s.Observe(fsyncEvent(l, ""))
				}
			}
			var sum Summary
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
			s := &FsyncStage{Slow: c.slow}
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
func afterwards(strict bool, c FsyncCounts) Summary {
	s := &FsyncStage{Pod: func(cgroup uint64) Pod { return Pod{Namespace: "kube-system", Name: fmt.Sprintf("etcd-%d", cgroup)} }}
	facts := []Fact{
		{Node: &Node{Wall: time.Hour}},
		{Fsync: &FsyncFact{Scope: &FsyncScope{Paths: []string{"/var/lib/etcd"}, Limit: 10 * time.Millisecond, Strict: strict}}},
		{Fsync: &FsyncFact{Counts: &c}},
	}
	for _, f := range facts {
		s.Observe(Event{Body: f})
	}
	var sum Summary
	s.Summarize(&sum)
	return sum
}

func TestFsyncSummaryBalancesTheBooks(t *testing.T) {
	sum := afterwards(false, FsyncCounts{
		Histograms: map[FsyncClass]fio.Histogram{FsyncWAL: counted(300, 0), FsyncDB: counted(20, 3)},
		InFlight:   []FsyncInFlight{{Begun: 2 * time.Second, Age: time.Second, PID: 5, Cgroup: 9, Op: "fsync", Path: "/x"}},
		Books:      Counts{Seen: 831, Filtered: 500, Lost: Losses{Ring: 2, Map: 10}},
	})
	if sum.Shown != 300+20+1-2 || sum.Filtered != 500 {
		t.Errorf("shown %d, filtered %d", sum.Shown, sum.Filtered)
	}
	stuck := sum.Fsync.InFlight[0]
	if stuck.Pod.Name != "etcd-9" || !stuck.Begun.Equal(time.Unix(3602, 0)) {
		t.Errorf("in flight: %+v", stuck)
	}
	text := strings.Join(sum.Fsync.Lines(), "\n")
	for _, part := range []string{
		"wal: 300 syncs below /var/lib/etcd\n  fsync/fdatasync/sync_file_range:\n    sync (nsec): min=1000.0k,",
		"verdict: PASS: P99 is within 10ms (0 of 300 over 10ms;", "db: 20 syncs", "still in flight: 1", "for 1s: fsync by /5, pod kube-system/etcd-9, /x",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("text lacks %q:\n%s", part, text)
		}
	}
}

func TestFsyncVerdictIsForTheLogAloneUnlessTheUserNamedTheLimit(t *testing.T) {
	counts := FsyncCounts{Histograms: map[FsyncClass]fio.Histogram{
		FsyncWAL: counted(300, 0), FsyncDB: counted(300, 30), FsyncOther: counted(10, 0), FsyncDir: {},
	}}
	for _, strict := range []bool{false, true} {
		want := map[FsyncClass]fio.Result{FsyncWAL: fio.Pass}
		if strict {
			want[FsyncDB], want[FsyncOther] = fio.Fail, fio.Undecided
		}
		got := map[FsyncClass]fio.Result{}
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
	raw, err := json.Marshal(afterwards(false, FsyncCounts{Histograms: map[FsyncClass]fio.Histogram{FsyncWAL: counted(300, 1)}}))
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
