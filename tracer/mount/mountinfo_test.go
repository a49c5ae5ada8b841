// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"strings"
	"testing"
)

const mountinfo = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,relatime - proc proc rw
40 27 259:1 / /data\040disk rw,noatime shared:5 master:2 - xfs /dev/nvme0n1p1 rw,attr2
41 27 259:1 /vol/a /var/lib/kubelet/pods/1/volumes/b rw - xfs /dev/nvme0n1p1 rw
42 27 0:45 /@home /home rw,relatime shared:9 - btrfs /dev/sdb2 rw,space_cache=v2,subvolid=257,subvol=/@home
43 27 0:51 / /run/containerd/rootfs rw,relatime - overlay overlay rw,lowerdir=/l/2:/l/1,upperdir=/var/lib/o\0541/fs,workdir=/var/lib/w
44 27 0:60 / /mnt/s rw - fuse.sshfs me@there:/ rw
45 27 0:61 / /tmp rw - tmpfs none rw
46 27 7:3 / /squash ro - squashfs /dev/loop3 ro
`

func TestMountinfoIsReadAsTheKernelWritesIt(t *testing.T) {
	mounts, err := Parse(strings.NewReader(mountinfo))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		id          int
		dev         uint32
		root, point string
		fs          string
		memory      bool
	}{
		{27, 254 << 20, "/", "/", "ext4", false},
		{22, 21, "/", "/proc", "proc", false},
		{40, 259<<20 | 1, "/", "/data disk", "xfs", false},
		{41, 259<<20 | 1, "/vol/a", "/var/lib/kubelet/pods/1/volumes/b", "xfs", false},
		{42, 45, "/@home", "/home", "btrfs", false},
		{43, 51, "/", "/run/containerd/rootfs", "overlay", false},
		{44, 60, "/", "/mnt/s", "fuse.sshfs", false},
		{45, 61, "/", "/tmp", "tmpfs", true},
		{46, 7<<20 | 3, "/", "/squash", "squashfs", false},
	} {
		m := mounts[i]
		if m.ID != want.id || m.Dev != want.dev || m.Root != want.root || m.Point != want.point || m.FS != want.fs {
			t.Errorf("got %+v, want %+v", m, want)
		}
		if m.InMemory() != want.memory {
			t.Errorf("%s: in memory %v, want %v", m.FS, m.InMemory(), want.memory)
		}
	}
	if got := mounts[5].Super["upperdir"]; got != "/var/lib/o,1/fs" {
		t.Errorf("upper layer %q", got)
	}
}

func TestMountinfoThatIsNotUnderstoodIsAnError(t *testing.T) {
	for _, line := range []string{"", "27 1 254:0 / /", "x 1 254:0 / / rw - ext4 a b", "27 1 254 / / rw - ext4 a b", "27 1 254:0 / / rw - ext4 a"} {
		if _, err := parseLine(line); err == nil {
			t.Errorf("%q was taken for a mount", line)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add(mountinfo)
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := Parse(strings.NewReader(text))
		if err == nil && len(mounts) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts in %d lines", len(mounts), strings.Count(text, "\n"))
		}
	})
}
