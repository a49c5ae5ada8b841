// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// laid makes a node's root with files below its proc.
func laid(t testing.TB, files map[string]string) *FS {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, "proc", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return At(root)
}

// TestWhichProcIsTheNodes needs a machine whose first PID namespace the test is in, as the rest of the live tests do.
func TestWhichProcIsTheNodes(t *testing.T) {
	bare, linked := t.TempDir(), t.TempDir()
	if err := os.Symlink("/proc", filepath.Join(linked, "proc")); err != nil {
		t.Fatal(err)
	}
	fake := laid(t, map[string]string{"1/comm": "init", "2/stat": "2 (kthreadd) S 0 0 0 0 -1 2129984"}).HostRoot()
	for root, want := range map[string]string{"/": "/proc", "": "/proc", bare: "/proc", linked: linked + "/proc", fake: "/proc"} {
		s := New(root)
		if s.dir != want || s.Check() != nil {
			t.Errorf("of a node at %q: %s, %v; want %s", root, s.dir, s.Check(), want)
		}
	}
	pid := uint32(os.Getpid())
	if found := slices.ContainsFunc(slices.Collect(New(bare).Processes()), func(p Process) bool { return p.PID == pid }); !found {
		t.Error("this process is not among them")
	}
}

// TestProcOfAPIDNamespaceIsNotTheNodes enters one, whose process 1 is not the machine's.
func TestProcOfAPIDNamespaceIsNotTheNodes(t *testing.T) {
	const inner = "PROCFS_TEST_INNER"
	if os.Getenv(inner) == "" {
		c := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
		c.Env = append(os.Environ(), inner+"=1")
		c.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	root := t.TempDir()
	own := filepath.Join(root, "proc")
	if err := errors.Join(os.Mkdir(own, 0o755), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		t.Fatal(err)
	}
	mountProc(t, own)
	if s := New(root); s.dir != "/proc" || s.Check() != nil { // which is still that of the machine
		t.Errorf("took %s, %v", s.dir, s.Check())
	}
	mountProc(t, "/proc")
	if s := New("/"); s.dir != "/proc" || s.Check() != nil { // we are the node, as far as we know
		t.Errorf("of ourselves took %s, %v", s.dir, s.Check())
	}
	if s := New(t.TempDir()); !errors.Is(s.Check(), ErrNoProc) {
		t.Errorf("of another node took %s, %v", s.dir, s.Check())
	}
}

// mountProc mounts the one of our PID namespace until the test ends.
func mountProc(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("proc", dir, "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

func TestProcessesOfANode(t *testing.T) {
	s := laid(t, map[string]string{
		"7/comm": "a (b) c\n", "7/task/8/comm": "worker\n", "7/io": "rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n",
		"7/cgroup": "5:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/kubepods/pod1\nnonsense\n:::\n", "7/environ": "A=1\x00B=2\x00",
		"7/stat": "7 (a) b) S 0 0 0 0 -1 2129984 0\n", "7/fd/3": "", "7/fdinfo/3": "pos:\t0\nflags:\t0100002\nmnt_id:\t31\nino:\t5\n",
		"cgroups": "#subsys_name\thierarchy\nblkio\t4\t1\t1\n", "self/comm": "not a number", "irq/1": "",
	})
	p := s.Process(7)
	if p.Comm() != "a (b) c" || p.TaskComm(8) != "worker" || p.WrittenBytes() != 4096 || !p.kernelThread() {
		t.Errorf("%q, %q, %d, %v", p.Comm(), p.TaskComm(8), p.WrittenBytes(), p.kernelThread())
	}
	groups, err := p.Cgroups()
	want := []Cgroup{{5, []string{"cpu", "cpuacct"}, "/a:b"}, {1, []string{"name=systemd"}, "/"}, {0, nil, "/kubepods/pod1"}}
	if err != nil || !reflect.DeepEqual(groups, want) {
		t.Errorf("%+v, %v; want %+v", groups, err, want)
	}
	if env, err := p.Environ(); env != "A=1\x00B=2\x00" || err != nil {
		t.Errorf("%q, %v", env, err)
	}
	for f := range p.Files(10) {
		if info := f.Info(); !info.Writable() || info.Mount != 31 {
			t.Errorf("%+v", info)
		}
	}
	if n, err := s.CgroupHierarchy("blkio"); n != 4 || err != nil {
		t.Errorf("hierarchy %d, %v", n, err)
	}
	if _, err := s.CgroupHierarchy("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if all := slices.Collect(s.Processes()); len(all) != 1 || all[0].PID != 7 {
		t.Errorf("processes %v", all)
	}
}

func TestProcessThatHasEnded(t *testing.T) {
	p := laid(t, nil).Process(7)
	groups, err := p.Cgroups()
	if p.Comm() != "" || p.WrittenBytes() != 0 || len(groups) > 0 || !errors.Is(err, os.ErrNotExist) || p.kernelThread() || p.exists() {
		t.Errorf("%q, %d, %v, %v", p.Comm(), p.WrittenBytes(), groups, err)
	}
	if _, err := p.Namespace("net"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := p.MountInfo(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	for f := range p.Files(10) {
		t.Errorf("a descriptor %v", f)
	}
}

// TestProcessesInANetns finds this one in its own.
func TestProcessesInANetns(t *testing.T) {
	s := New("/")
	inode, err := s.Self().Namespace("net")
	if err != nil {
		t.Fatal(err)
	}
	for p := range s.InNetns(inode) {
		if p.PID == uint32(os.Getpid()) {
			for f := range p.Files(1000) {
				dev, ino, ok := f.Inode()
				if link := f.Link(); link == "" || !ok || dev == 0 && ino == 0 {
					t.Errorf("%s at %d, %d", link, dev, ino)
				}
			}
			return
		}
	}
	t.Error("this process is not in its namespace")
}

func TestDisks(t *testing.T) {
	s := laid(t, map[string]string{
		"diskstats":    "   8       0 sda 1 2 3 4 300 6 100 500 9 900 11 0 0 0 0 100 70\n   8 1 sda1 1\n\n 7 0 loop0 1 2 3 4 5 6 7 8 9 10 11\n",
		"pressure/cpu": "some avg10=1.00 avg60=2.00 avg300=3.00 total=1000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
	})
	want := map[string]Disk{
		"8:0": {Written: 100 * 512, Busy: 900 * time.Millisecond, IOs: 400, Waited: 570 * time.Millisecond},
		"7:0": {Written: 7 * 512, Busy: 10 * time.Millisecond, IOs: 5, Waited: 8 * time.Millisecond},
	}
	if got := s.Disks(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := s.CPUWait(); got != time.Millisecond {
		t.Errorf("CPUs were short for %v", got)
	}
	if none := laid(t, nil); len(none.Disks()) > 0 || none.CPUWait() > 0 {
		t.Error("where there is nothing to read")
	}
}

// FuzzProc has every reader read the same text, whatever it is.
func FuzzProc(f *testing.F) {
	for _, text := range []string{"7 (a) S 0 0 0 0 -1 2129984 0\n", "0::/a\n5:cpu,cpuacct:/a:b\n", "flags:\t0100002\nmnt_id:\t31\n",
		"8 0 sda 1 2 3 4 300 6 100 500 9 900 11 0 0 0 0 100 70\n", "some total=18446744073709551615\n", "write_bytes: -1\n", strings.Repeat(":", 70000)} {
		f.Add([]byte(text))
	}
	names := []string{"7/comm", "7/cgroup", "7/io", "7/stat", "7/environ", "7/mountinfo", "7/fd/0", "7/fdinfo/0", "cgroups", "diskstats", "pressure/cpu"}
	files := map[string]string{}
	for _, name := range names {
		files[name] = ""
	}
	s := laid(f, files)
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p := s.Process(7)
		_, _, _ = p.Comm(), p.WrittenBytes(), p.kernelThread()
		_, _ = p.Cgroups()
		env, _ := p.Environ()
		if len(env) > environFile || len(p.Comm()) > firstLines {
			t.Errorf("an environment of %d bytes, a name of %d", len(env), len(p.Comm()))
		}
		_, _ = p.MountInfo()
		for f := range p.Files(10) {
			_ = f.Info()
		}
		_, _ = s.CgroupHierarchy("cpu")
		_, _ = s.Disks(), s.CPUWait()
	})
}
