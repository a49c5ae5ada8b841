// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/fio"
	"ktrace/testdata/lab"
)

// every is a --slow that no sync is faster than, so that each is shown.
const every = "1ns"

// fsyncRun is what a run of the fsync verb said.
type fsyncRun struct {
	events  []fsyncEvent
	summary fsyncSummary
	lines   []lab.Line
}

type fsyncEvent struct {
	Process struct{ PID, TID uint32 }
	Fsync   event.Fsync
}

type fsyncSummary struct {
	Seen, Shown, Filtered uint64
	Lost                  event.Losses
	Fsync                 event.FsyncSummary
}

// during runs ktrace fsync while something happens.
func during(t *testing.T, happens func(), args ...string) fsyncRun {
	t.Helper()
	run := lab.Ktrace(t, append([]string{"fsync"}, args...)...)
	happens()
	return fsyncRunOf(t, run.Stop())
}

func fsyncRunOf(t *testing.T, lines []lab.Line) fsyncRun {
	t.Helper()
	r := fsyncRun{lines: lines}
	for _, l := range lab.Events(lines, "fsync") {
		var e fsyncEvent
		l.Into(t, &e)
		r.events = append(r.events, e)
	}
	last := lines[len(lines)-1]
	if last.Type != "summary" {
		t.Fatalf("the last line is no summary: %s", last.Raw)
	}
	last.Into(t, &r.summary)
	s := r.summary
	if s.Seen != s.Shown+s.Filtered+s.Lost.Total() {
		t.Errorf("the accounts do not add up: %s", last.Raw)
	}
	if s.Lost.Total() != 0 {
		t.Errorf("lost %+v", s.Lost)
	}
	return r
}

// own is what the syncing program's own clock says. Neither Go's scheduler nor another process must come between the
// clock and the call: the calls are raw, and the thread's priority is real-time.
// The latencies come sorted.
func own(t *testing.T, fd, n int) []time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	urgent(t, unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 1})
	defer urgent(t, unix.SchedAttr{Policy: unix.SCHED_NORMAL})
	all := make([]time.Duration, 0, n)
	for i := range n {
		write(t, fd, int64(i)*2300)
		runtime.Gosched() // or the runtime interrupts a goroutine every 10 ms, and so one sync in a hundred
		begin := time.Now()
		_, _, errno := unix.RawSyscall(unix.SYS_FDATASYNC, uintptr(fd), 0, 0)
		all = append(all, time.Since(begin))
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	slices.Sort(all)
	return all
}

func urgent(t *testing.T, attr unix.SchedAttr) {
	t.Helper()
	attr.Size = unix.SizeofSchedAttr
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		t.Fatal(err)
	}
}

func TestFsyncCountsExactlyWhatIsBelowThePath(t *testing.T) {
	const rounds = 50 // some 40 s: a shared machine is slow for as long
	for _, c := range []struct{ fs, variant string }{{"ext4", "tp_btf"}, {"ext4", "raw_tp"}, {"xfs", "tracepoint"}} {
		t.Run(c.fs+" by "+c.variant, func(t *testing.T) {
			disk := newDisk(t, c.fs)
			inside := open(t, filepath.Join(directory(t, disk, "etcd/member/wal"), "0.wal"), 0)
			outside := open(t, filepath.Join(directory(t, disk, "other"), "0.wal"), 0)
			// An interrupt, or another guest, that comes between the program's clock and the kernel's makes the
			// program's latencies longer. So a quiet round is looked for: an error of ours would show in all.
			var apart []string
			for range rounds {
				apart = countExactly(t, disk, c.variant, inside, outside)
				if len(apart) == 0 {
					return
				}
			}
			t.Errorf("in %d rounds never the same as by the program's own clock: %q", rounds, apart)
		})
	}
}

// countExactly syncs 1,000 times below the path and 500 times beside it, and returns which percentiles are not those of
// the program's own clock.
func countExactly(t *testing.T, disk, variant string, inside, outside int) (apart []string) {
	t.Helper()
	var want []time.Duration
	r := during(t, func() {
		want = own(t, inside, 1000)
		own(t, outside, 500)
	}, "--path", filepath.Join(disk, "etcd"), "--variant", variant)
	if r.summary.Shown != 1000 || r.summary.Filtered != 500 {
		t.Errorf("shown %d, filtered %d, want 1000 and 500", r.summary.Shown, r.summary.Filtered)
	}
	wal := r.summary.Fsync.Classes[event.FsyncWAL]
	if wal.N != 1000 || len(r.summary.Fsync.Classes) != 1 {
		t.Errorf("classes %+v, want 1000 of wal alone", r.summary.Fsync.Classes)
	}
	if len(r.events) != 0 {
		t.Errorf("%d syncs shown one by one without a flag for it", len(r.events))
	}
	for name, p := range map[string]time.Duration{"50.00": want[499], "99.00": want[989]} {
		if got := time.Duration(wal.Percentiles[name]); (got - p).Abs() > apartAtMost(p) {
			apart = append(apart, fmt.Sprintf("P%s %v, by its own clock %v", name, got, p))
		}
	}
	return apart
}

// apartAtMost is by how much a percentile may differ from what the program's own clock says of it. Where a kernel is
// emulated, reading that clock and the programs at a sync's ends take as long as a good part of the sync.
func apartAtMost(p time.Duration) time.Duration {
	if testing.Short() {
		return p / 2
	}
	return p/100 + 5*time.Microsecond
}

// way is one of the ways to sync a file.
type way struct {
	name  string
	op    event.FsyncOp
	class event.FsyncClass
	sync  func(t *testing.T, dir, file string) error
}

func ways() []way {
	byFD := func(flags int, sync func(fd int) error) func(*testing.T, string, string) error {
		return func(t *testing.T, _, file string) error {
			fd := open(t, file, flags)
			if flags&(unix.O_DSYNC|unix.O_SYNC) == 0 {
				write(t, fd, 0)
			}
			return sync(fd)
		}
	}
	pwrite := func(fd int) error { _, err := unix.Pwrite(fd, []byte("x"), 0); return err }
	return []way{
		{"fsync", "fsync", event.FsyncOther, byFD(0, unix.Fsync)},
		{"fdatasync", "fdatasync", event.FsyncOther, byFD(0, unix.Fdatasync)},
		{"a write to a file opened with O_DSYNC", "write O_DSYNC", event.FsyncOther, byFD(unix.O_DSYNC, pwrite)},
		{"a write to a file opened with O_SYNC", "write O_SYNC", event.FsyncOther, byFD(unix.O_SYNC, pwrite)},
		{"a write with RWF_DSYNC", "write RWF_DSYNC", event.FsyncOther, byFD(0, func(fd int) error {
			_, err := unix.Pwritev2(fd, [][]byte{[]byte("x")}, 0, unix.RWF_DSYNC)
			return err
		})},
		{"msync", "msync", event.FsyncOther, byFD(0, func(fd int) error {
			m, err := unix.Mmap(fd, 0, 2300, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			defer unix.Munmap(m)
			m[0] = 'y'
			return unix.Msync(m, unix.MS_SYNC)
		})},
		{"io_uring", "io_uring", event.FsyncOther, byFD(0, uringSync)},
		{"fsync of a directory", "fsync", event.FsyncDir, func(t *testing.T, dir, _ string) error {
			fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Fsync(fd)
		}},
		{"sync_file_range", "sync_file_range", event.FsyncOther, byFD(0, func(fd int) error {
			return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		})},
		{"syncfs", "syncfs", event.FsyncOther, byFD(0, unix.Syncfs)},
	}
}

func TestFsyncSeesEveryWayToSync(t *testing.T) {
	unseen := map[string][]string{ // as the README says
		"xfs": {"a write to a file opened with O_DSYNC", "a write to a file opened with O_SYNC", "a write with RWF_DSYNC", "io_uring"},
	}
	if errors.Is(features.HaveProgramHelper(ebpf.TracePoint, asm.FnFindVma), ebpf.ErrNotSupported) { // kernel 5.17
		unseen["xfs"] = append(unseen["xfs"], "msync")
	}
	for _, fs := range []string{"ext4", "xfs"} {
		t.Run(fs, func(t *testing.T) {
			dir := directory(t, newDisk(t, fs), "a/b")
			all := ways()
			file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("file-%d", i)) }
			r := during(t, func() {
				for i, w := range all {
					if err := w.sync(t, dir, file(i)); err != nil {
						t.Fatalf("%s: %v", w.name, err)
					}
				}
			}, "--path", filepath.Dir(dir), "--all-sync", "--slow", every)
			want := map[string]bool{}
			for i, w := range all {
				if slices.Contains(unseen[fs], w.name) {
					continue
				}
				name := file(i)
				if w.class == event.FsyncDir {
					name = dir
				}
				want[fmt.Sprintf("%s %s %s", w.op, w.class, name)] = true
			}
			for _, e := range r.events {
				got := fmt.Sprintf("%s %s %s", e.Fsync.Op, e.Fsync.Class, e.Fsync.Path)
				if !want[got] {
					t.Errorf("saw %s, which was not done or not to be seen", got)
				}
				delete(want, got)
				if int(e.Process.PID) != os.Getpid() {
					t.Errorf("%s by process %d", got, e.Process.PID)
				}
			}
			for missed := range want {
				t.Errorf("missed: %s", missed)
			}
		})
	}
}

func TestFsyncKnowsAFileByWhereItIsNow(t *testing.T) {
	disk := newDisk(t, "ext4")
	dir := directory(t, disk, "etcd/wal")
	before := open(t, filepath.Join(dir, "0.tmp"), 0)
	deleted := open(t, filepath.Join(dir, "gone"), 0)
	r := during(t, func() {
		sync := func(fd int) {
			write(t, fd, 0)
			if err := unix.Fdatasync(fd); err != nil {
				t.Fatal(err)
			}
		}
		sync(before)
		if err := os.Rename(filepath.Join(dir, "0.tmp"), filepath.Join(dir, "0000.wal")); err != nil {
			t.Fatal(err)
		}
		sync(before)
		if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
			t.Fatal(err)
		}
		sync(deleted)
		command(t, "unshare", "-m", "sh", "-c", `mount --bind "$0" /mnt && dd if=/dev/zero of=/mnt/bound count=1 conv=fsync status=none`, dir)
	}, "--path", filepath.Join(disk, "etcd"), "--slow", every)
	var got []string
	for _, e := range r.events {
		got = append(got, fmt.Sprintf("%s %s %s %v", e.Fsync.Op, e.Fsync.Class, strings.TrimPrefix(e.Fsync.Path, dir+"/"), e.Fsync.Deleted))
	}
	want := []string{"fdatasync wal 0.tmp false", "fdatasync wal 0000.wal false", "fdatasync other gone true", "fsync other bound false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFsyncSeesThroughAnOverlayOnce(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs"} {
		t.Run("on "+fs, func(t *testing.T) {
			disk := newDisk(t, fs)
			lower, upper, work := directory(t, disk, "lower/data"), directory(t, disk, "upper"), directory(t, disk, "work")
			merged := mounted(t, "-t", "overlay", "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", filepath.Dir(lower), upper, work), "overlay")
			r := during(t, func() {
				for _, name := range []string{"data/a", "b"} { // the first makes its directory in the upper layer
					fd := open(t, filepath.Join(merged, name), 0)
					write(t, fd, 0)
					if err := unix.Fsync(fd); err != nil {
						t.Fatal(err)
					}
				}
			}, "--path", merged, "--slow", every)
			var got []string
			for _, e := range r.events {
				got = append(got, strings.TrimPrefix(e.Fsync.Path, merged))
			}
			if want := []string{"/data/a", "/b"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestFsyncWithoutAPathNamesFilesByTheirMount(t *testing.T) {
	disk := newDisk(t, "ext4")
	name := filepath.Join(directory(t, disk, "some/where"), "f")
	r := during(t, func() { own(t, open(t, name, 0), 3) }, "--slow", every)
	n := 0
	for _, e := range r.events {
		if e.Fsync.Path == name {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d syncs of %s, want 3", n, name)
	}
}

func TestFsyncReportsTheSlowestTenWithoutSendingAll(t *testing.T) {
	disk := newDisk(t, "ext4")
	fd := open(t, filepath.Join(disk, "f"), 0)
	recording := filepath.Join(t.TempDir(), "rec")
	r := during(t, func() { own(t, fd, 3000) }, "--path", disk, "--record", recording)
	slowest := r.summary.Fsync.Slowest
	if len(slowest) != 10 || uint64(slowest[0].Latency) != r.summary.Fsync.Classes[event.FsyncOther].Max {
		t.Fatalf("slowest: %+v", slowest)
	}
	// The ten highest counts of the histogram, which sees all, must be those of the ten.
	counts := lastCounts(t, recording).Histograms[event.FsyncOther]
	var top []int
	for bucket := fio.Buckets - 1; bucket >= 0 && len(top) < 10; bucket-- {
		for range counts.Counts[uint16(bucket)] {
			top = append(top, bucket)
		}
	}
	for i, s := range slowest {
		if got := fio.Bucket(uint64(s.Latency)); got != top[i] {
			t.Errorf("%d. slowest took %v, bucket %d, but the histogram has one in %d", i+1, s.Latency, got, top[i])
		}
	}
}

func TestFsyncListsWhatIsStillInFlight(t *testing.T) {
	// The disk's own disk is frozen, so a sync of the upper one waits until it thaws.
	under := newDisk(t, "ext4")
	disk := newDiskOn(t, "ext4", filepath.Join(under, "image"))
	name := filepath.Join(disk, "stuck")
	fd := open(t, name, 0)
	write(t, fd, 0)
	freeze(t, under)
	done := make(chan error, 1)
	t.Cleanup(func() {
		thaw(t, under)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	run := lab.Ktrace(t, "fsync", "--path", disk, "--interval", "1ms")
	go func() { done <- unix.Fdatasync(fd) }()
	run.Await("a sync in flight", func(l lab.Line) bool {
		var s fsyncSummary
		l.Into(t, &s)
		return l.Type == "summary" && len(s.Fsync.InFlight) > 0
	})
	r := fsyncRunOf(t, run.Stop())
	if len(r.summary.Fsync.InFlight) != 1 || r.summary.Shown != 1 {
		t.Fatalf("shown %d, in flight %+v", r.summary.Shown, r.summary.Fsync.InFlight)
	}
	stuck := r.summary.Fsync.InFlight[0]
	if stuck.Path != name || stuck.Op != "fdatasync" || int(stuck.Process.PID) != os.Getpid() || stuck.Age <= 0 || stuck.Process.Comm == "" {
		t.Errorf("in flight: %+v, want fdatasync of %s by %d", stuck, name, os.Getpid())
	}
}

func freeze(t *testing.T, point string) { freezing(t, point, 0xc0045877) } // FIFREEZE

func thaw(t *testing.T, point string) { freezing(t, point, 0xc0045878) } // FITHAW

func freezing(t *testing.T, point string, request uint) {
	t.Helper()
	fd, err := unix.Open(point, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var level uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&level))); errno != 0 {
		t.Fatalf("%s: freezing: %v", point, errno)
	}
}

func TestFsyncThatFailsIsAFinding(t *testing.T) {
	// A sparse disk larger than what it lies on: at some point a write finds no room, which to the disk is an I/O error.
	small := mounted(t, "-t", "tmpfs", "-o", "size=24m", "none")
	disk := newDiskOn(t, "ext4", filepath.Join(small, "image"))
	fd := open(t, filepath.Join(disk, "f"), 0)
	r := during(t, func() {
		for at := int64(0); ; at += 1 << 20 {
			if at > 64<<20 {
				t.Fatal("64 MiB went onto 24")
			}
			_, err := unix.Pwrite(fd, make([]byte, 1<<20), at)
			if err == nil {
				err = unix.Fsync(fd)
			}
			if err != nil {
				return
			}
		}
	}, "--path", disk)
	findings := lab.Findings(r.lines)
	if len(findings) != 1 || findings[0].ID != "fsync-error" {
		t.Fatalf("%d findings: %+v", len(findings), findings)
	}
	if len(r.events) == 0 || r.events[0].Fsync.Error == "" {
		t.Errorf("events %+v, want the one that failed", r.events)
	}
}

func TestFsyncOverTheLimitIsAFindingAndUnderItIsNot(t *testing.T) {
	disk := newDisk(t, "ext4")
	fd := open(t, filepath.Join(directory(t, disk, "wal"), "0.wal"), 0)
	for _, c := range []struct {
		limit string
		want  fio.Result
		ids   int
	}{{"1ns", fio.Fail, 1}, {"1h", fio.Pass, 0}} {
		t.Run(c.limit, func(t *testing.T) {
			r := during(t, func() { own(t, fd, 300) }, "--path", disk, "--limit", c.limit)
			if v := r.summary.Fsync.Classes[event.FsyncWAL].Verdict; v == nil || v.Result != c.want {
				t.Errorf("verdict %+v, want %s", v, c.want)
			}
			if found := lab.Findings(r.lines); len(found) != c.ids || c.ids == 1 && found[0].ID != "fsync-slow" {
				t.Errorf("findings %+v", found)
			}
		})
	}
}

// TestFsyncReportsWhereTheTimeWent writes to a disk that takes few writes a second: its syncs wait for the device.
func TestFsyncReportsWhereTheTimeWent(t *testing.T) {
	for _, variant := range []string{"tp_btf", "raw_tp"} {
		t.Run(variant, func(t *testing.T) {
			disk := newDisk(t, "ext4")
			name := filepath.Join(directory(t, disk, "wal"), "0.wal")
			log := append(slowly(t, disk, 40, "iops"), "dd", "if=/dev/zero", "of="+name, "bs=2300", "count=40", "oflag=dsync", "status=none")
			r := during(t, func() { command(t, log[0], log[1:]...) }, "--path", disk, "--slow", every, "--variant", variant)
			if len(r.events) != 40 {
				t.Errorf("%d syncs, want 40", len(r.events))
			}
			for _, e := range r.events {
				if len(e.Fsync.Stages) != 4 || e.Fsync.Stages.Sum() != e.Fsync.Latency {
					t.Errorf("took %v: %v", e.Fsync.Latency, e.Fsync.Stages)
				}
			}
			wal := r.summary.Fsync.Classes[event.FsyncWAL]
			if wal.OverLimit == 0 || wal.OverStages.Longest() != event.StageDevice {
				t.Errorf("%d over the limit: %v", wal.OverLimit, wal.OverStages)
			}
		})
	}
}
