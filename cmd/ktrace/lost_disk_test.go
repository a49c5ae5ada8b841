// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// writers are the ways to have a file written: the words before its name.
func writers(netns string) map[string][]string {
	return map[string][]string{
		"--record": {"drop", "--netns", netns, "-o", "json", "--record"},
		"-w":       {"drop", "--netns", netns, "-o", "json", "-w"},
		"capture":  {"capture", "--netns", netns, "-w"},
		"flight":   {"capture", "--netns", netns, "--ring", "4", "--trigger", "signal", "-w"},
		"ready":    {"drop", "--netns", netns, "--ready-file"},
		"copy":     {"read", filepath.Join(captures, "dumpcap.pcapng"), "-w"},
	}
}

// TestAReadOnlyDiskIsAnErrorOfEveryFile: it says so at once, names the file and what to do, and leaves what is there.
func TestAReadOnlyDiskIsAnErrorOfEveryFile(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	disk := smallDisk(t, "1m")
	before := filepath.Join(disk, "before")
	if err := os.WriteFile(before, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for name, words := range writers(p.Path()) {
		for _, file := range []string{before, filepath.Join(disk, "new")} {
			t.Run(name+" "+filepath.Base(file), func(t *testing.T) {
				run := lab.StartKtrace(t, append(words, file)...)
				_, status := run.Wait()
				want := words[len(words)-1] + " " + file + ": read-only file system; write elsewhere: the file system of " + disk + " is read-only\n"
				if said := run.Stderr(); status != 1 || said != "ktrace: "+want {
					t.Errorf("status %d, said %q, want %q", status, said, want)
				}
			})
		}
	}
	if now, err := os.ReadFile(before); err != nil || string(now) != "before" {
		t.Errorf("what was there is %q, error %v", now, err)
	}
}

// frailDisk is a file system on a disk of its own, and what turns it read-only at once, as an error of the disk does. No
// other test must run beside that makes a mount namespace: the disk is busy as long as that lives.
func frailDisk(t *testing.T) (dir string, turn func()) {
	t.Helper()
	dir = newDisk(t, "ext4")
	command(t, "mount", "-o", "remount,errors=remount-ro", dir)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		t.Helper()
		fault := filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error")
		if err := os.WriteFile(fault, []byte("a test"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// readOnly checks that a run ended with the error of its file.
func readOnly(t *testing.T, run *lab.Run, what, file string) {
	t.Helper()
	_, status := run.Wait()
	want := what + " " + file + ": read-only file system; write elsewhere: the file system of " + filepath.Dir(file) + " is read-only"
	if said := run.Stderr(); status != 1 || strings.Count(said, want) != 1 {
		t.Errorf("status %d, said %q, want %q", status, said, want)
	}
}

// TestADiskThatTurnsReadOnlyKeepsWhatWasSeen: the run ends with the error, and what came before is in the files.
func TestADiskThatTurnsReadOnlyKeepsWhatWasSeen(t *testing.T) {
	for _, flag := range []string{"--record", "-w"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("a")
			c.Node.Run("iptables", "-A", "FORWARD", "-p", "tcp", "--dport", "81", "-j", "DROP")
			disk, turn := frailDisk(t)
			file := filepath.Join(disk, "x")
			run := lab.Ktrace(t, "drop", "--netns", p.Path(), flag, file)
			fetch(p.NS, net.JoinHostPort(lab.ServerAddr, "81"), patience)
			run.AwaitFinding("netfilter-drop")
			whole := func() bool { return strings.Contains(ktraceRead(t, file, "drop", "-o", "json"), "the rule (certain)") }
			eventually(t, "the drop is in the file", whole)
			turn()
			readOnly(t, run, flag, file)
			if !whole() {
				t.Errorf("the file says\n%s", ktraceRead(t, file, "drop"))
			}
		})
	}
}

// TestAFlightRecorderWhoseDiskTurnsReadOnlyKeepsItsFiles fires before and after.
func TestAFlightRecorderWhoseDiskTurnsReadOnlyKeepsItsFiles(t *testing.T) {
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	disk, turn := frailDisk(t)
	file := filepath.Join(disk, "x")
	run := lab.Ktrace(t, "capture", "--netns", p.Path(), "--ring", "1", "--after", "0s", "--trigger", "signal", "-w", file, "icmp")
	fire := func() {
		t.Helper()
		ping(p.NS, lab.ServerAddr)
		if err := syscall.Kill(run.PID(), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
	}
	whole := func() bool {
		text, err := exec.Command("tcpdump", "-nr", file).Output()
		return err == nil && strings.Count(string(text), "\n") == 2*pings
	}
	fire()
	eventually(t, "the first file is complete", whole)
	turn()
	fire()
	readOnly(t, run, "-w", file+"1")
	if !whole() {
		t.Errorf("the first file has\n%s", tool(t, "tcpdump", "-nr", file))
	}
}

// TestACopyWhoseDiskTurnsReadOnlyKeepsWhatCame has packets come by a pipe.
func TestACopyWhoseDiskTurnsReadOnlyKeepsWhatCame(t *testing.T) {
	disk, turn := frailDisk(t)
	file, pipe := filepath.Join(disk, "x"), filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	run := lab.StartKtrace(t, "read", pipe, "-w", file)
	to, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	packets, err := os.ReadFile(foreignCapture(t, []sent{timeGoesBy(0), timeGoesBy(patience)}))
	if err != nil {
		t.Fatal(err)
	}
	const last = 8 // bytes that the last packet is not complete without
	cut := len(packets) - last
	if _, err := to.Write(packets[:cut]); err != nil {
		t.Fatal(err)
	}
	first := func() bool {
		text, err := exec.Command("tcpdump", "-nr", file).Output()
		return err == nil && strings.Count(string(text), "\n") == 1
	}
	eventually(t, "the first packet is in the file", first)
	turn()
	if _, err := to.Write(packets[cut:]); err != nil {
		t.Fatal(err)
	}
	readOnly(t, run, "-w", file)
	if !first() {
		t.Errorf("the file has\n%s", tool(t, "tcpdump", "-nr", file))
	}
}

// TestAFullDiskLeavesWhatWasThere: not even the beginning of what is to take its place can be written.
func TestAFullDiskLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	words := writers(p.Path())
	for _, name := range []string{"--record", "-w", "capture", "copy"} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk(t, "8k")
			file := filepath.Join(disk, "x")
			for _, name := range []string{file, filepath.Join(disk, "other")} { // a page each
				if err := os.WriteFile(name, []byte("before"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			run := lab.StartKtrace(t, append(words[name], file)...)
			flag := words[name][len(words[name])-1]
			if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), flag+" "+file+": no space left on device") {
				t.Errorf("status %d, said %q", status, run.Stderr())
			}
			if now, err := os.ReadFile(file); err != nil || string(now) != "before" {
				t.Errorf("the file has %q, error %v", now, err)
			}
			if names, err := os.ReadDir(disk); err != nil || len(names) != 2 {
				t.Errorf("there are %v", names)
			}
		})
	}
}

// TestAFileThatIsRemovedMeanwhileIsAnError: what it had is lost, and users have to know.
func TestAFileThatIsRemovedMeanwhileIsAnError(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	words := writers(p.Path())
	for _, name := range []string{"--record", "-w", "capture"} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, t.TempDir(), "dir")
			file := filepath.Join(dir, "x")
			args := append(words[name], file)
			run := lab.Ktrace(t, args...)
			ping(p.NS, lab.ServerAddr)
			eventually(t, "the file has its beginning", func() bool {
				info, err := os.Stat(file)
				return err == nil && info.Size() > 0
			})
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(run.PID(), syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			flag := words[name][len(words[name])-1]
			if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), flag+" "+file+": was removed while it was written") {
				t.Errorf("status %d, said %q", status, run.Stderr())
			}
		})
	}
}

// TestAFlightRecorderSaysThatItsDirectoryIsGone when it fires, and when it begins.
func TestAFlightRecorderSaysThatItsDirectoryIsGone(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	dir := directory(t, t.TempDir(), "dir")
	args := append(writers(p.Path())["flight"], filepath.Join(dir, "x"))
	gone := func(run *lab.Run) {
		t.Helper()
		_, status := run.Wait()
		want := "-w " + filepath.Join(dir, "x") + `: no such file or directory; "mkdir -p ` + dir + `" makes the directory`
		if said := run.Stderr(); status != 1 || !strings.Contains(said, want) {
			t.Errorf("status %d, said %q", status, said)
		}
	}
	run := lab.Ktrace(t, args...)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(run.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	gone(run)
	gone(lab.StartKtrace(t, args...))
}

// TestACaptureWhoseReaderHasGoneIsQuiet has the reader of -w - go while --record is written: the recording is whole.
func TestACaptureWhoseReaderHasGoneIsQuiet(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	dir := t.TempDir()
	file, ready, ended := filepath.Join(dir, "x.rec"), filepath.Join(dir, "ready"), filepath.Join(dir, "ended")
	run := lab.KtraceUnder(t, `{ "$@"; echo "status $?" >&2; touch `+ended+`; } | head -c 1 >/dev/null`, "capture", "--netns", p.Path(), "-w", "-",
		"--record", file, "--ready-file", ready, "icmp")
	there := func(name string) bool { _, err := os.Stat(name); return err == nil }
	eventually(t, "it is attached", func() bool { return there(ready) })
	eventually(t, "it ends, which it does when it writes", func() bool { ping(p.NS, lab.ServerAddr); return there(ended) })
	run.Wait()
	said := run.Stderr()
	var captured, received int
	if _, err := fmt.Sscanf(said, "%d packets captured\n%d packets received by filter\n0 packets dropped by kernel\nstatus 0\n", &captured, &received); err != nil {
		t.Fatalf("%v: said %q", err, said)
	}
	if text := ktraceRead(t, file, "--no-header"); received == 0 || strings.Count(text, "ICMP echo re") != received {
		t.Errorf("%d packets were received, the recording says\n%s", received, text)
	}
}
