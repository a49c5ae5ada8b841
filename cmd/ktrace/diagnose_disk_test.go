// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// slowly makes a control group whose members may write so much a second to the disk below a directory, by its unit iops
// or bps, and returns a command's words that have it join first.
func slowly(t *testing.T, dir string, most int, unit string) []string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("ktrace-%d-%x", os.Getpid(), st.Dev)
	group, limit := "/sys/fs/cgroup/blkio/"+name, "blkio.throttle.write_"+unit+"_device"
	text := fmt.Sprintf("%d:%d %d", unix.Major(st.Dev), unix.Minor(st.Dev), most)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		group, limit = "/sys/fs/cgroup/"+name, "io.max"
		text = fmt.Sprintf("%d:%d w%s=%d", unix.Major(st.Dev), unix.Minor(st.Dev), unit, most)
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+io"), 0) // shows below if it did not help
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(group, limit), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", "-c", fmt.Sprintf(`echo $$ >%s/cgroup.procs && exec "$@"`, group), "slowly"}
}

// TestDiagnoseNamesADiskTooSlowForEtcd writes a log as etcd does, to a disk that is throttled or is not.
func TestDiagnoseNamesADiskTooSlowForEtcd(t *testing.T) {
	disk := newDisk(t, "ext4")
	name := filepath.Join(directory(t, disk, "member/wal"), "0.wal")
	log := []string{"fio", "--name=wal", "--filename=" + name, "--rw=write", "--bs=2300", "--size=230000", "--fdatasync=1"}
	t.Run("throttled", func(t *testing.T) {
		live, read := diagnosed(t, name, append(slowly(t, disk, 40, "iops"), log...))
		if len(live) != 1 || len(read) != 1 || live[0] != read[0] {
			t.Fatalf("live %q, in the capture %q: want one, and the same", live, read)
		}
		if !strings.HasPrefix(live[0], "fsync-throttled ") || !strings.Contains(live[0], "40 writes a second") {
			t.Errorf("found %s", live[0])
		}
	})
	t.Run("good", func(t *testing.T) { silentAtLeastOnce(t, name, log) })
}

// crowded makes a control group whose members are preferred by nobody, has others busy on the CPU that it is bound to,
// and returns a command's words that have it join first.
func crowded(t *testing.T) []string {
	t.Helper()
	const cpu, busy = "0", 8
	group, weight, least := fmt.Sprintf("/sys/fs/cgroup/cpu/ktrace-%d", os.Getpid()), "cpu.shares", "2"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		group, weight, least = fmt.Sprintf("/sys/fs/cgroup/ktrace-%d", os.Getpid()), "cpu.weight", "1"
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu"), 0) // shows below if it did not help
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(group, weight), []byte(least), 0); err != nil {
		t.Fatal(err)
	}
	for range busy {
		busyLoop(t, "taskset", "-c", cpu)
	}
	return []string{"sh", "-c", fmt.Sprintf(`echo $$ >%s/cgroup.procs && exec taskset -c %s "$@"`, group, cpu), "crowded"}
}

// busyLoop keeps a CPU busy until the test ends; words before it say on which.
func busyLoop(t *testing.T, words ...string) {
	t.Helper()
	background(t, append(words, "sh", "-c", "while :; do :; done"))
}

// background runs a command until the test ends, and returns its process.
func background(t *testing.T, words []string) (pid int) {
	t.Helper()
	c := exec.Command(words[0], words[1:]...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
	})
	return c.Process.Pid
}

// TestDiagnoseNamesSyncsThatWaitForACPU writes a log to a good disk, with others on its CPU or without.
func TestDiagnoseNamesSyncsThatWaitForACPU(t *testing.T) {
	name := filepath.Join(directory(t, newDisk(t, "ext4"), "member/wal"), "0.wal")
	log := []string{"dd", "if=/dev/zero", "of=" + name, "bs=2300", "count=20", "oflag=dsync", "status=none"}
	t.Run("crowded", func(t *testing.T) {
		live, read := diagnosed(t, name, append(crowded(t), log...))
		if len(live) != 1 || len(read) != 1 || live[0] != read[0] {
			t.Fatalf("live %q, in the capture %q: want one, and the same", live, read)
		}
		if !strings.HasPrefix(live[0], "fsync-cpu-starved ") || !strings.Contains(live[0], "waiting for a CPU") {
			t.Errorf("found %s", live[0])
		}
	})
	t.Run("alone", func(t *testing.T) { silentAtLeastOnce(t, name, log) })
}

// TestDiagnoseWeighsTheCPUsBeforeTheDisk writes a log to a good disk on a machine that is only busy: no task is preferred,
// and the one that syncs wants a CPU as the others do.
func TestDiagnoseWeighsTheCPUsBeforeTheDisk(t *testing.T) {
	name := filepath.Join(directory(t, newDisk(t, "ext4"), "member/wal"), "0.wal")
	one := "dd if=/dev/zero of='" + name + "' bs=2300 count=1 oflag=dsync conv=notrunc status=none"
	log := []string{"sh", "-c", "for i in $(seq 40); do " + one + "; done"}
	for range 4 * runtime.NumCPU() {
		busyLoop(t)
	}
	live, read := diagnosed(t, name, log)
	if len(live) != 1 || !slices.Equal(live, read) {
		t.Fatalf("live %q, in the capture %q: want one, and the same", live, read)
	}
	if !strings.HasPrefix(live[0], "fsync-cpu-starved ") {
		t.Errorf("found %s", live[0])
	}
}

// newSlowDisk makes a file system on a disk that takes so many bytes a second of all commands whose words begin as
// those that it returns. It lies in a file of another disk, past the page cache: there they have a limit.
func newSlowDisk(t *testing.T, rate int) (dir string, join []string) {
	t.Helper()
	const size = 200 << 20
	below := newDisk(t, "ext4")
	image := filepath.Join(below, "image")
	if err := unix.Fallocate(open(t, image, 0), 0, 0, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--direct-io=on", "--find", "--show", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		command(t, "losetup", "-d", device)
		awaitDetached(t, image)
	})
	command(t, "mkfs.ext4", "-q", "-F", device)
	return mounted(t, device), slowly(t, below, rate, "bps")
}

// crowd has another process write all it can to a disk, until the test ends; it returns once it writes one block after the
// other: before, it makes files.
func crowd(t *testing.T, disk string, join []string) {
	t.Helper()
	const blocks = 4
	words := slices.Concat(join, []string{"fio", "--name=other", "--directory=" + disk, "--rw=write", "--bs=1M", "--direct=1",
		"--size=64M", "--time_based", "--runtime=1h", "--thread"})
	other := background(t, words)
	eventually(t, "fio writes", func() bool {
		io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", other))
		_, after, _ := strings.Cut(string(io), "\nwrite_bytes: ")
		digits, _, _ := strings.Cut(after, "\n")
		written, wrong := strconv.Atoi(digits)
		return err == nil && wrong == nil && written >= blocks<<20
	})
}

// TestDiagnoseNamesTheNeighbourOfSlowSyncs writes a log to a disk that is fast enough for it, with another process that
// writes all it can to the same disk or without.
func TestDiagnoseNamesTheNeighbourOfSlowSyncs(t *testing.T) {
	disk, join := newSlowDisk(t, 20<<20)
	name := filepath.Join(directory(t, disk, "member/wal"), "0.wal")
	log := slices.Concat(join, []string{"dd", "if=/dev/zero", "of=" + name, "bs=2300", "count=40", "oflag=dsync", "status=none"})
	bare := t.TempDir() // the node's root as it is without what is mounted below it, but for /sys
	if err := os.Symlink("/sys", filepath.Join(bare, "sys")); err != nil {
		t.Fatal(err)
	}
	for of, flags := range map[string][]string{"": nil, ", seen from a root without its /proc": {"--host-root", bare}} {
		t.Run("beside another"+of, func(t *testing.T) {
			crowd(t, disk, join)
			live, read := diagnosed(t, name, log, flags...)
			if len(live) != 1 || len(read) != 1 || live[0] != read[0] {
				t.Fatalf("live %q, in the capture %q: want one, and the same", live, read)
			}
			if !strings.HasPrefix(live[0], "fsync-neighbour ") || !strings.Contains(live[0], "; fio/") {
				t.Errorf("found %s", live[0])
			}
		})
		t.Run("alone"+of, func(t *testing.T) { silentAtLeastOnce(t, name, log, flags...) })
	}
}

// silentAtLeastOnce looks for a quiet round: on a busy machine a good disk is slow now and then, for all to see.
func silentAtLeastOnce(t *testing.T, name string, log []string, flags ...string) {
	t.Helper()
	const rounds = 10
	var live, read []string
	for range rounds {
		if live, read = diagnosed(t, name, log, flags...); len(live)+len(read) == 0 {
			return
		}
	}
	t.Errorf("in every one of %d rounds: live %q, in the capture %q", rounds, live, read)
}

// diagnosed returns what ktrace concludes of the syncs of a file while a command runs, live and from its own capture.
func diagnosed(t *testing.T, name string, command []string, flags ...string) (live, read []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "run.pcapng")
	run := lab.Ktrace(t, append([]string{"diagnose", "--duration", "1h", "-w", file}, flags...)...)
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := run.Stop()
	live = slowSyncs(t, name, said)
	t.Logf("of all syncs: %s\n%s", lab.Findings(said), lab.Summary(t, said).Raw)
	lines, _, _ := lab.Read(t, file, "diagnose")
	return live, slowSyncs(t, name, lines)
}

// slowSyncs are the findings about a file's syncs, with who made them.
func slowSyncs(t *testing.T, name string, lines []lab.Line) []string {
	t.Helper()
	var about []string
	for _, l := range lab.Findings(lines) {
		var f struct {
			Subject  string
			Evidence []string
		}
		l.Into(t, &f)
		if text := strings.Join(f.Evidence, "\n"); strings.HasPrefix(l.ID, "fsync-") && strings.Contains(text, "of "+name+" by ") {
			about = append(about, l.ID+" "+f.Subject+"\n"+text)
		}
	}
	return about
}
