// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"math"
	"reflect"
	"testing"
	"time"

	"ktrace/decoder/wire"
)

// fsyncRaw is a record as the kernel half sends it: it ends with the names.
func fsyncRaw(t *testing.T, names string, change func(*wire.Fsync)) []byte {
	t.Helper()
	var r wire.Fsync
	r.Hdr = wire.Header{Kind: uint16(wire.KindFsync), Time: 5e9, Pid: 7, Tid: 8}
	copy(r.Hdr.Comm[:], "etcd")
	r.Latency, r.Dev, r.Ino = 12345678, 7<<20|3, 99
	r.Op, r.Class, r.Root = uint32(wire.FsyncFdatasync), uint32(wire.FsyncClassWal), 0xffff
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
		flags  wire.FsyncFlags
		waited [3]uint64
		want   FsyncTimes
	}{
		{0, [3]uint64{1, 2, 3}, nil},
		{wire.FsyncQueued, [3]uint64{0, 0, 25}, FsyncTimes{StageRunQueue: 25, StageOther: 75}},
		{wire.FsyncStages, [3]uint64{60, 90, 25}, FsyncTimes{StageJournal: 0, StageDevice: 75, StageRunQueue: 25, StageCPU: 0}},
		{wire.FsyncStages, [3]uint64{10, 60, 25}, FsyncTimes{StageJournal: 10, StageDevice: 60, StageRunQueue: 25, StageCPU: 5}},
	} {
		_, f = decodedFsync(t, fsyncRaw(t, "f\x00", func(r *wire.Fsync) { r.Flags, r.Latency, r.Waited = uint32(c.flags), 100, c.waited }))
		if !reflect.DeepEqual(f.Stages, c.want) {
			t.Errorf("flags %d: got %v, want %v", c.flags, f.Stages, c.want)
		}
	}
	if want := "60 % waiting for the device, 25 % waiting for a CPU, 10 % waiting for the journal, 5 % running"; f.Stages.String() != want {
		t.Errorf("got %q, want %q", f.Stages, want)
	}
	if f.Stages.Longest() != StageDevice || FsyncTimes(nil).Longest() != "" {
		t.Errorf("longest %q, of none %q", f.Stages.Longest(), FsyncTimes(nil).Longest())
	}
}

func TestFsyncRecordsOddities(t *testing.T) {
	for _, c := range []struct {
		name   string
		names  string
		change func(*wire.Fsync)
		want   string
	}{
		{"the root itself has no names", "", nil, "12.3ms fdatasync wal "},
		{"a path that lacks its beginning says so", "b\x00a\x00", func(r *wire.Fsync) { r.Flags = uint32(wire.FsyncTruncated) }, "12.3ms fdatasync wal .../a/b"},
		{"a deleted file is named as it was", "b\x00", func(r *wire.Fsync) { r.Flags = uint32(wire.FsyncDeleted) }, "12.3ms fdatasync wal b (deleted)"},
		{"an error has its name", "b\x00", func(r *wire.Fsync) { r.Error = -5 }, "12.3ms fdatasync wal b: EIO"},
		{"an unknown error has its number", "b\x00", func(r *wire.Fsync) { r.Error = -999 }, "12.3ms fdatasync wal b: errno 999"},
		{"an unknown operation has its syscall's number", "b\x00", func(r *wire.Fsync) { r.Op, r.Syscall = uint32(wire.FsyncOther), 0x123 }, "12.3ms unknown(0x123) wal b"},
		{"an unknown class has its number", "b\x00", func(r *wire.Fsync) { r.Class = 77 }, "12.3ms fdatasync unknown(0x4d) b"},
		{"a length beyond the record is cut", "b\x00", func(r *wire.Fsync) { r.PathLen = 2 }, "12.3ms fdatasync wal b"},
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
		{"a root that was not reported", Fsync{Path: "f", Device: "0:9", dev: 9, root: 5}, "(0:9)/f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := scope.Locate(c.f); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestBriefOfAnyDuration wants an end to it: a file may claim any latency.
func TestBriefOfAnyDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 12345678: "12.3ms", 1000: "1µs", 999999: "1ms", -5: "-5ns", math.MinInt64: "-2562047h47m16.854775808s",
		math.MaxInt64: "2561111h6m40s",
	} {
		if got := Brief(d); got != want {
			t.Errorf("Brief(%d) is %s, want %s", int64(d), got, want)
		}
	}
}
