// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	t.Run("throttled", func(t *testing.T) {
		live, read := diagnosed(t, name, append(slowly(t, disk, 40, "iops"), goodLog(name)...))
		if len(live) != 1 || len(read) != 1 || live[0] != read[0] {
			t.Fatalf("live %q, in the capture %q: want one, and the same", live, read)
		}
		if !strings.HasPrefix(live[0], "fsync-throttled ") || !strings.Contains(live[0], "40 writes a second") {
			t.Errorf("found %s", live[0])
		}
	})
	t.Run("good", func(t *testing.T) { silent(t, name, goodLog(name)) })
}

// crowded makes a control group whose members are preferred by nobody, has others busy on the CPU that it is bound to,
// and returns a command's words that have it join first.
func crowded(t *testing.T) []string {
	t.Helper()
	group, weight, least := fmt.Sprintf("/sys/fs/cgroup/cpu/ktrace-%d", os.Getpid()), "cpu.shares", "10"
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
	busyLoops(t, 5)
	return []string{"taskset", "-c", strconv.Itoa(busyCPU), "sh", "-c", fmt.Sprintf(`echo $$ >%s/cgroup.procs && exec "$@"`, group), "crowded"}
}

const busyCPU = 0

// busyLoops has n processes keep a CPU busy until the test ends; it returns once each does. Each has a session of its own: where
// the kernel gives the CPU to sessions in turn (sched_autogroup), all of one are as one task, which others wait for no more
// than once.
func busyLoops(t *testing.T, n int) {
	t.Helper()
	const least = 20 * time.Millisecond // that a loop has run for, and not what starts it
	for range n {
		pid := background(t, []string{"setsid", "taskset", "-c", strconv.Itoa(busyCPU), "sh", "-c", "while :; do :; done"})
		eventually(t, "a loop runs", func() bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
			ran, _, _ := strings.Cut(string(text), " ")
			ns, wrong := strconv.ParseInt(ran, 10, 64)
			return err == nil && wrong == nil && time.Duration(ns) >= least
		})
	}
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
	log := []string{"dd", "if=/dev/zero", "of=" + name, "bs=2300", "count=4", "oflag=dsync", "status=none"}
	t.Run("crowded", func(t *testing.T) {
		live, read := diagnosed(t, name, append(crowded(t), log...))
		if len(live) != 1 || len(read) != 1 || live[0] != read[0] {
			t.Fatalf("live %q, in the capture %q: want one, and the same", live, read)
		}
		if !strings.HasPrefix(live[0], "fsync-cpu-starved ") || !strings.Contains(live[0], "waiting for a CPU") {
			t.Errorf("found %s", live[0])
		}
	})
	t.Run("alone", func(t *testing.T) { silent(t, name, goodLog(name)) })
}

// TestDiagnoseWeighsTheCPUsBeforeTheDisk writes a log to a good disk whose journal's thread has others on its CPU: who syncs
// waits for that, and neither for a CPU nor for the disk.
func TestDiagnoseWeighsTheCPUsBeforeTheDisk(t *testing.T) {
	const enough, within = 5, 2 * etcdLimit // this clock runs on behind a sync, until there is a CPU
	disk := newDiskInMemory(t)
	name := filepath.Join(directory(t, disk, "member/wal"), "0.wal")
	fd := open(t, name, unix.O_APPEND)
	busyLoops(t, 5)
	crowdJournal(t, disk)
	live, read := diagnosedDuring(t, name, func() {
		n, slow := 0, 0
		eventually(t, "syncs are slow", func() bool {
			write(t, fd, 0)
			begin := time.Now()
			if err := unix.Fdatasync(fd); err != nil {
				t.Fatal(err)
			}
			if n++; time.Since(begin) > within {
				slow++
			}
			return slow >= enough && 2*slow > n
		})
	})
	if len(live) != 1 || !slices.Equal(live, read) {
		t.Fatalf("live %q, in the capture %q: want one, and the same", live, read)
	}
	if !strings.HasPrefix(live[0], "fsync-cpu-starved ") || !strings.Contains(live[0], "(PSI)") {
		t.Errorf("found %s", live[0])
	}
}

// newDiskInMemory makes a file system on a disk that needs no task of its own to answer, and so is fast on a busy machine, too:
// a loop device's waits for a CPU as others do. It is one if the kernel has no zram.
func newDiskInMemory(t *testing.T) string {
	t.Helper()
	const control = "/sys/class/zram-control/"
	_ = exec.Command("modprobe", "zram").Run() // shows in the next line
	text, err := os.ReadFile(control + "hot_add")
	if err != nil {
		return newDisk(t, "ext4")
	}
	number := strings.TrimSpace(string(text))
	t.Cleanup(func() {
		eventually(t, "the disk is used no more", func() bool { return os.WriteFile(control+"hot_remove", []byte(number), 0) == nil })
	})
	if err := os.WriteFile("/sys/block/zram"+number+"/disksize", []byte("400M"), 0); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", "/dev/zram"+number)
	return mounted(t, "/dev/zram"+number)
}

// crowdJournal binds the kernel's thread that writes the journal of a disk to the busy CPU, where it comes after the loops.
// With the priority that it has by itself some kernels let it run at once.
func crowdJournal(t *testing.T, disk string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(disk, &st); err != nil {
		t.Fatal(err)
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("pgrep", "^jbd2/"+filepath.Base(device)+"-").Output()
	if err != nil {
		t.Fatal(err)
	}
	thread, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	var there unix.CPUSet
	there.Set(busyCPU)
	last := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
	if err := errors.Join(unix.SchedSetaffinity(thread, &there), unix.SchedSetAttr(thread, &last, 0)); err != nil {
		t.Fatal(err)
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
		t.Run("alone"+of, func(t *testing.T) { silent(t, name, append(join, goodLog(name)...), flags...) })
	}
}

// etcdLimit is from when on a sync of a log is slow.
const etcdLimit = 10 * time.Millisecond

// goodLog are the words of a program that writes a log as etcd does, and then prints how long its syncs took. It need not wait
// for a CPU, whatever else the machine does.
func goodLog(name string) []string {
	return []string{"chrt", "--fifo", "1", "fio", "--name=wal", "--filename=" + name, "--rw=write", "--bs=2300", "--size=230000", "--fdatasync=1", "--output-format=json"}
}

// silent has ktrace conclude nothing of a log's syncs. On a busy machine a good disk is slow now and then, for all to see: what
// counts is a round in which no sync took longer than the limit by the clock of who syncs.
func silent(t *testing.T, name string, log []string, flags ...string) {
	t.Helper()
	for slowest, deadline := etcdLimit, time.Now().Add(2*time.Minute); slowest >= etcdLimit; {
		var out []byte
		live, read := diagnosedDuring(t, name, func() { out = output(t, log) }, flags...)
		if slowest = slowestSync(t, out); slowest < etcdLimit && len(live)+len(read) > 0 {
			t.Errorf("no sync took longer than %v: live %q, in the capture %q", slowest, live, read)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the disk is not good: a sync took %v", slowest)
		}
	}
}

// slowestSync is how long the slowest took by the JSON of fio.
func slowestSync(t *testing.T, out []byte) time.Duration {
	t.Helper()
	var said struct {
		Jobs []struct {
			Sync struct {
				Latency struct {
					N   int
					Max time.Duration
				} `json:"lat_ns"`
			}
		}
	}
	if err := json.Unmarshal(out, &said); err != nil || len(said.Jobs) != 1 || said.Jobs[0].Sync.Latency.N == 0 {
		t.Fatalf("%v: fio printed %s", err, out)
	}
	return said.Jobs[0].Sync.Latency.Max
}

// diagnosed returns what ktrace concludes of the syncs of a file while a command runs, live and from its own capture.
func diagnosed(t *testing.T, name string, words []string, flags ...string) (live, read []string) {
	t.Helper()
	return diagnosedDuring(t, name, func() { output(t, words) }, flags...)
}

// diagnosedDuring is diagnosed for whatever happens.
func diagnosedDuring(t *testing.T, name string, happens func(), flags ...string) (live, read []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "run.pcapng")
	run := lab.Ktrace(t, append([]string{"diagnose", "--duration", "1h", "-w", file}, flags...)...)
	happens()
	said := run.Stop()
	live = slowSyncs(t, name, said)
	t.Logf("of all syncs: %s\n%s", lab.Findings(said), lab.Summary(t, said).Raw)
	lines, _, _ := lab.Read(t, file, "diagnose")
	return live, slowSyncs(t, name, lines)
}

// output is what a command prints, which must succeed.
func output(t *testing.T, words []string) []byte {
	t.Helper()
	var complaints strings.Builder
	c := exec.Command(words[0], words[1:]...)
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", words, err, out, &complaints)
	}
	return out
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
