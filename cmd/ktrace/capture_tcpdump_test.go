// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// dumper is a tcpdump at a pod's device.
type dumper struct {
	t     *testing.T
	cmd   *exec.Cmd
	said  strings.Builder
	ended chan error
}

// startTcpdump returns once it captures.
func startTcpdump(t *testing.T, p *lab.Pod, args ...string) *dumper {
	t.Helper()
	d := &dumper{t: t, ended: make(chan error, 1)}
	d.cmd = exec.Command("nsenter", append([]string{"--net=" + p.Path(), "tcpdump", "-n", "-B", "32768", "-Z", "root", "-i", "eth0"}, args...)...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	for !strings.Contains(d.said.String(), "listening on") {
		line, err := lines.ReadString('\n')
		d.said.WriteString(line)
		if err != nil {
			t.Fatalf("tcpdump %v: %v\n%s", args, err, d.said.String())
		}
	}
	go func() {
		_, _ = io.Copy(&d.said, lines) // until it ends
		d.ended <- d.cmd.Wait()
	}()
	return d
}

// stop interrupts it, if it has not ended by itself, and returns what it said.
func (d *dumper) stop() string {
	d.t.Helper()
	_ = d.cmd.Process.Signal(os.Interrupt) // may have ended
	return d.wait()
}

func (d *dumper) wait() string {
	d.t.Helper()
	select {
	case err := <-d.ended:
		if err != nil {
			d.t.Errorf("tcpdump: %v\n%s", err, d.said.String())
		}
	case <-time.After(time.Minute):
		d.t.Fatalf("tcpdump does not end\n%s", d.said.String())
	}
	return d.said.String()
}

// datagrams sends n datagrams of a size to port 9999 of the server, as fast as it goes.
func datagrams(t *testing.T, p *lab.Pod, n, size int) {
	t.Helper()
	p.Do(func() {
		conn, err := net.ListenPacket("udp4", ":0") // not connected, so that refusals are nobody's
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		to, data := &net.UDPAddr{IP: net.ParseIP(lab.ServerAddr), Port: 9999}, make([]byte, size)
		for range n {
			if _, err := conn.WriteTo(data, to); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// counts are the closing lines of a capture.
type counts struct{ captured, received, dropped int }

func countsOf(t *testing.T, said string) (c counts) {
	t.Helper()
	for _, line := range strings.Split(said, "\n") {
		var n int
		var what string
		if _, err := fmt.Sscanf(line, "%d packets %s", &n, &what); err != nil {
			continue
		}
		switch what {
		case "captured":
			c.captured = n
		case "received":
			c.received = n
		case "dropped":
			if strings.HasSuffix(line, "by kernel") {
				c.dropped = n
			}
		}
	}
	return c
}

// both are the same flags given to tcpdump and to ktrace, which see the same packets.
type both struct {
	t            *testing.T
	theirs, ours string // directories
	tcpdump      *dumper
	ktrace       *lab.Run
}

// scriptIn makes a script for -z, which notes what it is run on.
func scriptIn(t *testing.T, dir string) string {
	t.Helper()
	script := filepath.Join(dir, "z")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nbasename \"$1\" >>"+dir+"/ran\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

func startBoth(t *testing.T, p *lab.Pod, name string, flags ...string) *both {
	t.Helper()
	b := &both{t: t, theirs: t.TempDir(), ours: t.TempDir()}
	theirs := append(slices.Clone(flags), "-w", filepath.Join(b.theirs, name), "-z", scriptIn(t, b.theirs), "udp port 9999")
	ours := append(slices.Clone(flags), "-w", filepath.Join(b.ours, name), "-z", scriptIn(t, b.ours), "udp port 9999")
	b.tcpdump = startTcpdump(t, p, theirs...)
	b.ktrace = lab.Ktrace(t, append([]string{"capture", "--netns", p.Path(), "-i", "eth0"}, ours...)...)
	return b
}

// files are the names in a directory, and what -z was run on, in order.
func files(t *testing.T, dir string) (names, ran []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Name() != "z" && e.Name() != "ran" {
			names = append(names, e.Name())
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "ran"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	ran = strings.Fields(string(text))
	slices.Sort(ran) // they run side by side
	return names, ran
}

// inAll counts the packets in all files of a directory, with tcpdump.
func inAll(t *testing.T, dir string) (n int) {
	t.Helper()
	names, _ := files(t, dir)
	for _, name := range names {
		n += strings.Count(tool(t, "tcpdump", "-nr", filepath.Join(dir, name)), "\n")
	}
	return n
}

// TestCaptureIsTcpdumpByTheNamesOfFiles gives both the same flags. A packet takes a little more of our files, so there
// are as many as tcpdump's only if the last of them is not nearly full. Both end by -c: an interrupted tcpdump leaves
// behind what the kernel still has for it.
func TestCaptureIsTcpdumpByTheNamesOfFiles(t *testing.T) {
	t.Parallel()
	const n, size = 2200, 1400
	for _, tt := range []struct {
		name, flags string
		whole       bool // all packets are still there
	}{
		{"x", "-c 2200", true},
		{"x", "-c 1000", true},
		{"x", "-c 2200 -C 1", true},
		{"x", "-c 2200 -C 1 -W 1", false},
		{"x", "-c 2200 -C 1 -W 2", false},
		{"x", "-c 2200 -C 1 -W 10", true},
		{"x", "-c 2200 -C 1 -W 11", true},
		{"x-%Y%%", "-c 2200 -G 3600", true},
		{"x-%Y", "-c 2200 -G 3600 -W 2", true},
		{"x-%Y", "-c 2200 -G 3600 -C 1", true},
		{"x-%Y", "-c 2200 -G 3600 -C 1 -W 3", false},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("a")
			b := startBoth(t, p, tt.name, strings.Fields(tt.flags)...)
			datagrams(t, p, n, size)
			they := countsOf(t, b.tcpdump.wait())
			if _, status := b.ktrace.Wait(); status != 0 {
				t.Fatalf("status %d\n%s", status, b.ktrace.Stderr())
			}
			we := countsOf(t, b.ktrace.Stderr())
			theirs, theyRan := files(t, b.theirs)
			ours, weRan := files(t, b.ours)
			if !slices.Equal(theirs, ours) || !slices.Equal(theyRan, weRan) {
				t.Errorf("tcpdump makes %q and runs -z on %q; ktrace %q and %q", theirs, theyRan, ours, weRan)
			}
			if they.captured != we.captured {
				t.Errorf("tcpdump says %+v, ktrace %+v", they, we)
			}
			if got := inAll(t, b.ours); tt.whole && got != we.captured || got > we.captured {
				t.Errorf("%d packets in the files, captured %d", got, we.captured)
			}
		})
	}
}

// TestCaptureAtFullSpeedLosesNothingUncounted sends as fast as two CPUs can, past ktrace and tcpdump. What ktrace wrote
// and what it says it lost is what was sent, to the packet. With the machine to itself it must not lose more than tcpdump.
func TestCaptureAtFullSpeedLosesNothingUncounted(t *testing.T) {
	soak := os.Getenv("KTRACE_SOAK") != ""
	senders, each := 2, 50_000
	if soak {
		each = 1_000_000
	}
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	dir := t.TempDir()
	theirs, ours := filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")
	dump := startTcpdump(t, p, "-w", theirs, "udp port 9999")
	run := lab.Ktrace(t, "capture", "--netns", p.Path(), "-i", "eth0", "-w", ours, "udp port 9999")
	begun := time.Now()
	var crew sync.WaitGroup
	for range senders {
		crew.Go(func() { datagrams(t, p, each, 100) })
	}
	crew.Wait()
	took := time.Since(begun)
	run.Stop()
	sent := senders * each
	they, we := countsOf(t, dump.stop()), countsOf(t, run.Stderr())
	t.Logf("%d packets in %v, %.0f a second: ktrace wrote %d and lost %d; tcpdump wrote %d and lost %d",
		sent, took, float64(sent)/took.Seconds(), we.captured, we.dropped, they.captured, they.dropped)
	if we.captured+we.dropped != sent || we.received != sent {
		t.Errorf("wrote %d, lost %d, received %d of %d", we.captured, we.dropped, we.received, sent)
	}
	if n := packetsIn(t, ours); n != we.captured {
		t.Errorf("%d packets in the file, said %d", n, we.captured)
	}
	if soak && we.dropped > they.dropped {
		t.Errorf("lost %d, tcpdump %d", we.dropped, they.dropped)
	}
}

// packetsIn counts as capinfos does: a million lines of tcpdump take minutes.
func packetsIn(t *testing.T, file string) int {
	t.Helper()
	var n int
	fields := strings.Fields(tool(t, "capinfos", "-rcMT", file))
	if _, err := fmt.Sscan(fields[len(fields)-1], &n); err != nil {
		t.Fatalf("%q: %v", fields, err)
	}
	return n
}
