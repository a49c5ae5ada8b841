// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ktrace/testdata/lab"
)

// flown are the closing lines of a flight recorder. They must add up.
func flown(t *testing.T, run *lab.Run) (written int) {
	t.Helper()
	var received, lost, not int
	said := run.Stderr()
	at := strings.Index(said, " packets captured")
	at = strings.LastIndex(said[:max(at, 0)], "\n") + 1
	if _, err := fmt.Sscanf(said[at:], "%d packets captured\n%d packets received by filter\n%d packets dropped by kernel\n%d packets not written", &written, &received, &lost, &not); err != nil {
		t.Fatalf("%v: said %q", err, said)
	}
	if written+lost+not != received {
		t.Errorf("%d written, %d lost and %d not written of %d", written, lost, not, received)
	}
	return written
}

// TestFlightRecorderHasThePacketsBeforeTheFinding has pings pass before a rule drops a connection: they are in the file
// that the finding had written, in the file's comment is why, and ktrace reads what it concluded.
func TestFlightRecorderHasThePacketsBeforeTheFinding(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	c.Node.Run("iptables", "-A", "FORWARD", "-p", "tcp", "--dport", "81", "-j", "DROP")
	file := filepath.Join(t.TempDir(), "flight.pcapng")
	run := lab.Ktrace(t, "capture", "--netns", p.Path(), "--ring", "4", "--after", "300ms", "-w", file)
	ping(p.NS, lab.ServerAddr)
	if _, err := os.Stat(file); err == nil {
		t.Fatal("there is a file before anything fired")
	}
	fetch(p.NS, net.JoinHostPort(lab.ServerAddr, "81"), patience)
	run.AwaitFinding("netfilter-drop")
	run.Stop()
	written := flown(t, run)
	text := tool(t, "tcpdump", "-nr", file)
	if n := strings.Count(tool(t, "tshark", "-r", file, "-Y", "icmp && !frame.verdict"), "\n"); n != 2*pings {
		t.Errorf("%d pings and answers, want %d\n%s", n, 2*pings, text)
	}
	if syn := strings.Index(text, p.Addr+"."); syn < strings.LastIndex(text, "ICMP echo re") {
		t.Errorf("no connection after the pings\n%s", text)
	}
	if said := tool(t, "capinfos", file); !strings.Contains(said, "netfilter-drop: A firewall rule") {
		t.Errorf("capinfos does not say why\n%s", said)
	}
	times := strings.Fields(tool(t, "tshark", "-r", file, "-T", "fields", "-e", "frame.time_epoch"))
	if !slices.IsSorted(times) || len(times) <= written {
		t.Errorf("not in order of time, or not all of %d packets and what was dropped: %s", written, times)
	}
	dropped := tool(t, "tshark", "-r", file, "-Y", "frame.verdict.ebpf_tc == 2", "-T", "fields", "-e", "frame.comment")
	if !strings.Contains(dropped, "DROP NETFILTER_DROP") {
		t.Errorf("tshark sees dropped %q", dropped)
	}
	read, _, _ := lab.Read(t, file, "drop")
	if found := lab.Findings(read); len(found) != 1 || found[0].ID != "netfilter-drop" {
		t.Errorf("the file says %d findings: %s", len(found), found)
	}
}

func TestFlightRecorderFiresOnSignalAndPacket(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	run := lab.Ktrace(t, "capture", "--netns", p.Path(), "--ring", "1", "--after", "0s", "-w", file, "-z", "true",
		"--trigger", "signal", "--trigger", "icmp[icmptype] = icmp-echo and len > 900", "icmp")
	complete := func(name string, packets int) {
		t.Helper()
		// The name is there when the file begins; it is complete once tcpdump counts all.
		eventually(t, fmt.Sprintf("%s has %d packets", name, packets), func() bool {
			text, err := exec.Command("tcpdump", "-nr", filepath.Join(dir, name)).Output()
			return err == nil && strings.Count(string(text), "\n") == packets
		})
	}
	run.Pause() // it reads the packets when it has the signal
	ping(p.NS, lab.ServerAddr)
	if err := syscall.Kill(run.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	run.Resume()
	complete("f", 2*pings)
	ping(p.NS, lab.ServerAddr)
	p.Run("ping", "-q", "-c", "1", "-s", "1000", lab.ServerAddr)
	run.Stop()
	if written, n := flown(t, run), 4*pings+2; written < n-1 || written > n {
		t.Errorf("%d written, want %d, or one less: with --after 0s the answer comes too late", written, n)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 2 || names[1] != file+"1" {
		t.Errorf("files %v", names)
	}
}

func TestFlightRecorderRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{"--ring 4", "it needs -w FILE"},
		{"--ring 4 -w -", "it needs -w FILE"},
		{"--ring 4 -w x -G 5", "want one of them"},
		{"--ring 4 -w x -c 5", "want one of them"},
		{"--ring 4 -w x --trigger tcp[", "column 5"},
		{"--ring 4 -w x --trigger finding:dns-no-respnse", "want one of accept-queue-full, "},
		{"--ring 4 -w x --after -1s", "want a time"},
	} {
		run := lab.StartKtrace(t, append([]string{"capture"}, strings.Fields(tt[0])...)...)
		if _, status := run.Wait(); status != 2 || !strings.Contains(run.Stderr(), tt[1]) {
			t.Errorf("%s: status %d, said %q", tt[0], status, run.Stderr())
		}
	}
}
