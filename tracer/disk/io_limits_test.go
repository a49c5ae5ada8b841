// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/tracer/procfs"
)

// TestIOLimitsAreFoundInBothVersionsOfControlGroups lays out what a node would have.
func TestIOLimitsAreFoundInBothVersionsOfControlGroups(t *testing.T) {
	for _, c := range []struct {
		name   string
		cgroup string            // of the process
		files  map[string]string // below sys/fs/cgroup
		more   map[string]string // the same, later
		want   event.IOLimit
	}{
		{
			"version 1", "5:blkio:/kubepods/pod1/c1\n0::/\n",
			map[string]string{"blkio/kubepods/pod1/c1/blkio.throttle.write_iops_device": "8:0 40\n",
				"blkio/kubepods/pod1/c1/blkio.throttle.io_serviced": "8:0 Read 7\n8:0 Write 100\nTotal 107\n"},
			map[string]string{"blkio/kubepods/pod1/c1/blkio.throttle.io_serviced": "8:0 Read 7\n8:0 Write 180\nTotal 187\n"},
			event.IOLimit{Cgroup: "blkio/kubepods/pod1/c1", IOPS: 40, Writes: 80},
		},
		{
			"version 2, of the pod", "0::/kubepods/pod1/c1\n",
			map[string]string{"kubepods/pod1/io.max": "8:16 rbps=max wbps=9 riops=max wiops=max\n8:0 rbps=max wbps=4096 riops=max wiops=max\n",
				"kubepods/pod1/io.stat": "8:0 rbytes=1 wbytes=1000 rios=1 wios=3 dbytes=0 dios=0\n"},
			map[string]string{"kubepods/pod1/io.stat": "8:0 rbytes=1 wbytes=9192 rios=1 wios=5 dbytes=0 dios=0\n"},
			event.IOLimit{Cgroup: "kubepods/pod1", BPS: 4096, Writes: 2, Bytes: 8192},
		},
		{"for another disk", "0::/a\n", map[string]string{"a/io.max": "8:16 rbps=max wbps=9 riops=max wiops=max\n"}, nil, event.IOLimit{}},
		{"none", "0::/a\n", map[string]string{"a/io.max": ""}, nil, event.IOLimit{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			put := partitioned(t, root, c.cgroup)
			for name, text := range c.files {
				put("sys/fs/cgroup/"+name, text)
			}
			w := NewIOLimits(procfs.At(root), time.Millisecond)
			w.Enrich(event.Event{Header: event.Header{PID: 7}, Body: event.Fsync{Device: "8:1", Latency: time.Second}})
			for name, text := range c.more {
				put("sys/fs/cgroup/"+name, text)
			}
			facts := w.Poll()
			if c.want.Cgroup == "" {
				if len(facts) > 0 {
					t.Errorf("reported %+v", *facts[0].IOLimit)
				}
				return
			}
			if len(facts) != 1 {
				t.Fatalf("%d facts", len(facts))
			}
			got := *facts[0].IOLimit
			c.want.PID, c.want.Device, c.want.Disk = 7, "8:1", "8:0"
			c.want.Cgroup = filepath.Join(root, "sys/fs/cgroup", c.want.Cgroup)
			if got.Span <= 0 {
				t.Errorf("span %v", got.Span)
			}
			if got.Span = 0; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// partitioned lays out a disk 8:0 with the partition 8:1, and process 7 in a control group, below root; put adds files.
func partitioned(t *testing.T, root, cgroup string) (put func(name, text string)) {
	t.Helper()
	put = func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("proc/7/cgroup", cgroup)
	put("sys/devices/sda/sda1/partition", "1\n")
	put("sys/devices/sda/dev", "8:0\n")
	if err := os.MkdirAll(filepath.Join(root, "sys/dev/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../devices/sda/sda1", filepath.Join(root, "sys/dev/block/8:1")); err != nil {
		t.Fatal(err)
	}
	return put
}
