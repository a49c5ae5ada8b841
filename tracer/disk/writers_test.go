// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/tracer/mount"
	"ktrace/tracer/procfs"
)

// TestWritersAreWhoWritesToTheDisk lays out a node: process 7 and its neighbours on the disk 8:0, others elsewhere.
func TestWritersAreWhoWritesToTheDisk(t *testing.T) {
	root := t.TempDir()
	put := partitioned(t, root, "0::/\n")
	put("proc/1/comm", "init\n")
	for _, p := range []struct {
		pid               int
		comm, mount, open string
	}{
		{7, "etcd", "30 1 8:1 / /var rw - ext4 /dev/sda1 rw", "0100002"},
		{8, "the backup", "31 1 8:2 / /backup rw - xfs /dev/sda2 rw", "0100001"}, // a partition of the same disk
		{9, "reader", "32 1 8:1 / /var rw - ext4 /dev/sda1 rw", "0100000"},
		{10, "elsewhere", "33 1 8:16 / /mnt rw - ext4 /dev/sdb rw", "0100001"},
		{11, "contained", "34 1 0:50 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/upper", "0100001"},
	} {
		dir := fmt.Sprintf("proc/%d/", p.pid)
		put(dir+"comm", p.comm+"\n")
		put(dir+"mountinfo", "1 0 0:1 / / rw - tmpfs tmpfs rw\n"+p.mount+"\n")
		put(dir+"fd/0", "")
		put(dir+"fd/3", "")
		put(dir+"fdinfo/0", "pos:\t0\nflags:\t0100000\nmnt_id:\t1\n")
		put(dir+"fdinfo/3", fmt.Sprintf("pos:\t0\nflags:\t%s\nmnt_id:\t%.2s\nino:\t5\n", p.open, p.mount))
	}
	put("sys/devices/sda/sda2/partition", "2\n")
	if err := os.Symlink("../../devices/sda/sda2", filepath.Join(root, "sys/dev/block/8:2")); err != nil {
		t.Fatal(err)
	}
	wrote := func(at int, bytes map[int]int) {
		for pid, n := range bytes {
			put(fmt.Sprintf("proc/%d/io", pid), fmt.Sprintf("rchar: 1\nwchar: 2\nwrite_bytes: %d\ncancelled_write_bytes: 3\n", n))
		}
		put("proc/diskstats", fmt.Sprintf("   8       1 sda1 1 2 3 4 5 6 7 8 9 10 11\n   8       0 sda 1 2 3 4 %d 6 %d %d 9 %d 11 0 0 0 0 %d %d\n", 300*at, 100000*at, 500*at, 900*at, 100*at, 70*at))
		put("proc/pressure/cpu", fmt.Sprintf("some avg10=1.00 avg60=2.00 avg300=3.00 total=%d\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", 1000*at))
	}
	w := NewWriters(procfs.At(root), time.Millisecond, func(pid uint32) uint64 { return uint64(100 * pid) })
	wrote(1, map[int]int{7: 1 << 20, 8: 1 << 30, 9: 1 << 20, 10: 1 << 20})
	if facts := w.Poll(); len(facts) > 0 {
		t.Errorf("reported %+v before anything was slow", facts)
	}
	w.Enrich(event.Event{Header: event.Header{PID: 7}, Body: event.Fsync{Device: "8:1", Latency: 2 * time.Millisecond}})
	wrote(2, map[int]int{7: 2 << 20, 8: 1<<30 + 40<<20, 9: 50 << 20, 10: 50 << 20, 11: 3 << 20})
	facts := w.Poll()
	if len(facts) != 1 || facts[0].DiskUse == nil {
		t.Fatalf("reported %+v", facts)
	}
	got := *facts[0].DiskUse
	want := []event.DiskWriter{{PID: 8, Comm: "the backup", Cgroup: 800, Bytes: 40 << 20}, {PID: 7, Comm: "etcd", Cgroup: 700, Bytes: 1 << 20}}
	if got.Device != "8:1" || got.Disk != "8:0" || got.Written != 100000*512 || got.Busy != 900*time.Millisecond || got.Span <= 0 {
		t.Errorf("reported %+v", got)
	}
	if got.IOs != 400 || got.Waited != 570*time.Millisecond || got.CPUWait != time.Millisecond {
		t.Errorf("%d writes and flushes took %v, CPUs were short for %v", got.IOs, got.Waited, got.CPUWait)
	}
	if fmt.Sprint(got.Writers) != fmt.Sprint(want) {
		t.Errorf("writers %+v, want %+v", got.Writers, want)
	}
	wrote(3, map[int]int{8: 1<<30 + 41<<20})
	if facts := w.Poll(); len(facts) != 1 || facts[0].DiskUse.Writers[0].Bytes != 41<<20 {
		t.Errorf("later reported %+v", facts)
	}
}

// TestAnOverlayWritesToItsUpperLayer asks where a container's own files are kept.
func TestAnOverlayWritesToItsUpperLayer(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "upper"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := NewWriters(procfs.At(root), time.Millisecond, nil)
	for name, own := range map[string]bool{"/upper": false, "/gone": true, "": true} {
		if device := w.device(mount.Mount{FS: "overlay", Dev: 50, Super: map[string]string{"upperdir": name}}); (device == "0:50") != own {
			t.Errorf("an overlay of %q writes to %s", name, device)
		}
	}
}

func BenchmarkWritersLook(b *testing.B) {
	w := NewWriters(procfs.New("/"), time.Millisecond, nil)
	for b.Loop() {
		w.look(time.Now())
	}
	b.ReportMetric(float64(len(w.look(time.Now()).written)), "writers")
}
