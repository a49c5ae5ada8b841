// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// eventually repeats what has no other way to be waited for: that something is in a file.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
		time.Sleep(5 * time.Millisecond) // leaves the CPU to who brings it about
	}
}

// piped runs a capture of a pod's pings whose standard output is what a shell makes of it, and returns that.
func piped(t *testing.T, pipe string, flags ...string) string {
	t.Helper()
	c := lab.NewCluster(t)
	k := lab.NewKubelet(t)
	a, b := c.AddPod("a"), c.AddPod("b")
	k.Pod("default", "web-0").Start("app", a.NS, "sleep", "600")
	k.Pod("default", "web-1").Start("app", b.NS, "sleep", "600")
	dir := t.TempDir()
	out, ready := filepath.Join(dir, "out"), filepath.Join(dir, "ready")
	run := lab.KtraceUnder(t, pipe+" >"+out, append([]string{"capture", "--pod", "default/web-0", "--host-root", k.Root,
		"--ready-file", ready, "-c", "46", "icmp"}, flags...)...)
	eventually(t, "it is attached", func() bool { _, err := os.Stat(ready); return err == nil })
	ping(a.NS, b.Addr)
	if _, status := run.Wait(); status != 0 {
		t.Fatalf("status %d\n%s", status, run.Stderr())
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCaptureIsReadFromAPipe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, pipe, each string }{
		{"tcpdump", `"$@" | tcpdump -nr -`, "ICMP echo re"},
		{"tshark, live", `"$@" | tshark -i - -c 46 -T fields -e frame.interface_name -e frame.comment`, "eth0@default/web-0"},
		{"tshark", `"$@" | tshark -r -`, "Echo (ping) re"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if text := piped(t, tt.pipe, "-w", "-"); strings.Count(text, tt.each) != 2*pings {
				t.Errorf("not %d times %q:\n%s", 2*pings, tt.each, text)
			}
		})
	}
}

func TestCaptureShowsLinesAsTcpdumpWithNamesOfPods(t *testing.T) {
	t.Parallel()
	text := piped(t, `"$@"`)
	lines := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d+ .*default/web-0 +default/web-1 +IP [0-9.]+ > [0-9.]+: ICMP echo request`)
	if n := len(lines.FindAllString(text, -1)); n != pings {
		t.Errorf("%d lines of requests, want %d\n%s", n, pings, text)
	}
}

func TestCaptureIsTcpdumpByWhatItTakes(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	b := startBoth(t, p, "x", "-s", "60", "-c", "50")
	datagrams(t, p, 20, 10)
	datagrams(t, p, 30, 1000)
	b.tcpdump.wait()
	b.ktrace.Wait()
	fields := func(dir string) string {
		return tool(t, "tshark", "-r", filepath.Join(dir, "x"), "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len", "-e", "ip.id", "-e", "udp.length")
	}
	if theirs, ours := fields(b.theirs), fields(b.ours); theirs != ours || !strings.Contains(ours, "1042\t60\t") {
		t.Errorf("tcpdump takes\n%s\nktrace\n%s", theirs, ours)
	}
}

// TestCaptureIsTcpdumpByWhenItWrites wants packets in files that are still being written with -U.
func TestCaptureIsTcpdumpByWhenItWrites(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	b := startBoth(t, p, "x", "-U")
	for n := range 3 {
		datagrams(t, p, 1, 10)
		for _, dir := range []string{b.theirs, b.ours} {
			eventually(t, "the packet is in "+dir, func() bool {
				text, err := exec.Command("tcpdump", "-nr", filepath.Join(dir, "x")).Output()
				return err == nil && strings.Count(string(text), "\n") == n+1
			})
		}
	}
	b.tcpdump.stop()
	b.ktrace.Stop()
}

// TestCaptureIsTcpdumpByWhenItEnds has packets come until both have written two files of a second each.
func TestCaptureIsTcpdumpByWhenItEnds(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	b := startBoth(t, p, "x", "-G", "1", "-W", "2")
	var crew sync.WaitGroup
	done := make(chan bool)
	crew.Go(func() {
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				datagrams(t, p, 1, 10)
			case <-done:
				return
			}
		}
	})
	said := b.tcpdump.wait()
	_, status := b.ktrace.Wait()
	close(done)
	crew.Wait()
	if !strings.Contains(said, "Maximum file limit reached") || status != 0 {
		t.Errorf("ktrace ended with %d; tcpdump said %s", status, said)
	}
	theirs, theyRan := files(t, b.theirs)
	ours, weRan := files(t, b.ours)
	if strings.Join(theirs, " ") != strings.Join(ours, " ") || strings.Join(theyRan, " ") != strings.Join(weRan, " ") || len(weRan) != 2 {
		t.Errorf("tcpdump makes %q and runs -z on %q; ktrace %q and %q", theirs, theyRan, ours, weRan)
	}
}
