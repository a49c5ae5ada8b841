// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/testdata/lab"
)

const captures = "../../testdata/captures"

// ktraceRead runs the verb in this process and returns what it printed.
func ktraceRead(t testing.TB, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	root := newRoot(replay.Streams{Out: &out, Err: &said})
	root.SetArgs(append([]string{"read"}, args...))
	if err := root.ExecuteContext(t.Context()); err != nil && !errors.Is(err, flags.ErrFindings) {
		t.Fatalf("read %v: %v\n%s", args, err, said.String())
	}
	return out.String()
}

func TestReadCopiesByteForByte(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dumpcap.pcapng", "editcap-comments.pcapng", "editcap-secrets.pcapng", "mergecap-two-interfaces.pcapng"} {
		t.Run(name, func(t *testing.T) {
			from, to := filepath.Join(captures, name), filepath.Join(t.TempDir(), "x.pcapng")
			ktraceRead(t, from, "-w", to)
			want, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			// A section whose length was known says that it is not any more: a copy may have fewer packets.
			copy(want[16:24], got[16:24])
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d are not the same", len(got), len(want))
			}
		})
	}
}

func TestReadFiltersAsTcpdumpDoes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tcpdump-nano.pcap", "tcpdump-any-sll2.pcap", "dumpcap.pcapng"} {
		for _, expr := range []string{"udp", "icmp", "icmp or udp", "not icmp", "ip6", "greater 60"} {
			file, to := filepath.Join(captures, name), filepath.Join(t.TempDir(), "x.pcapng")
			ktraceRead(t, file, "-w", to, expr)
			got := strings.Count(tool(t, "tcpdump", "-nr", to), "\n")
			if want := strings.Count(tool(t, "tcpdump", "-nr", file, expr), "\n"); got != want {
				t.Errorf("%s of %s: %d packets, tcpdump has %d", expr, name, got, want)
			}
		}
	}
}

// TestReadTakesAnyFormOfAFile: microseconds, nanoseconds, gzip, either byte order, and standard input.
func TestReadTakesAnyFormOfAFile(t *testing.T) {
	t.Parallel()
	forms := []string{"tcpdump-micro.pcap", "tcpdump-nano.pcap", "tcpdump-nano.pcap.gz", "tcpdump-any-sll2.pcap", "dumpcap.pcapng"}
	for _, name := range forms {
		file := filepath.Join(captures, name)
		for _, swap := range []bool{false, true} {
			if swap && (strings.HasSuffix(name, "gz") || strings.HasSuffix(name, "ng")) {
				continue
			}
			if swap {
				file = swapped(t, file)
			}
			if stats := ktraceRead(t, file, "--stats", "icmp"); !strings.Contains(stats, "6 packets read, 5 matched") {
				t.Errorf("%s swapped %v:\n%s", name, swap, stats)
			}
		}
	}
	run := lab.KtraceUnder(t, `cat "`+filepath.Join(captures, forms[2])+`" | "$@"`, "read", "-", "--stats", "-o", "json", "icmp")
	lines, status := run.Wait()
	var counted struct {
		Type          string
		Read, Matched int
		First         string
	}
	if status != 0 || len(lines) != 1 {
		t.Fatalf("status %d, %d lines: %s", status, len(lines), run.Stderr())
	}
	lines[0].Into(t, &counted)
	if counted.Type != "stats" || counted.Read != 6 || counted.Matched != 5 || counted.First == "" {
		t.Errorf("of standard input: %+v", counted)
	}
}

// swapped is a classic capture in the other byte order.
func swapped(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const header, record = 24, 16
	reverse := func(at, n int) { slices.Reverse(b[at : at+n]) }
	for at := header; at < len(b); {
		size := int(binary.LittleEndian.Uint32(b[at+8:]))
		for field := range 4 {
			reverse(at+4*field, 4)
		}
		at += record + size
	}
	for at, n := range map[int]int{0: 4, 4: 2, 6: 2, 8: 4, 12: 4, 16: 4, 20: 4} {
		reverse(at, n)
	}
	to := filepath.Join(t.TempDir(), "swapped.pcap")
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestReadMergesByTimeAndReportsCopies(t *testing.T) {
	t.Parallel()
	a, b := filepath.Join(captures, "tcpdump-nano.pcap"), filepath.Join(captures, "dumpcap.pcapng")
	stats := ktraceRead(t, b, a, b, "--stats", "--dedup")
	for _, want := range []string{"18 packets read", "6 packets left out as seen before"} {
		if !strings.Contains(stats, want) {
			t.Errorf("no %q in\n%s", want, stats)
		}
	}
	if strings.Contains(stats, "older than the one before") {
		t.Errorf("not in order of time:\n%s", stats)
	}
}

// dumped is what tcpdump captures in a pod, up to a number of packets, while something happens.
func dumped(t *testing.T, p *lab.Pod, packets int, expr string, happens func()) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.pcap")
	dump := exec.Command("ip", "netns", "exec", p.Name, "tcpdump", "--immediate-mode", "-i", "eth0",
		"-c", strconv.Itoa(packets), "-w", file, expr)
	said, err := dump.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dump.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); lines.Scan() && !strings.Contains(lines.Text(), "listening"); {
	}
	go io.Copy(io.Discard, said) // what it says at its end
	happens()
	if err := dump.Wait(); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestReadConcludesOfWhatTcpdumpSawOfAFirewall: the node rejects by ICMP; without it there is nothing to say.
func TestReadConcludesOfWhatTcpdumpSawOfAFirewall(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			web(t, c, p)
			addr := net.JoinHostPort(f.server, "80")
			const connection = 6 // packets at least
			file := dumped(t, p, connection, "tcp port 80", func() { fetch(p.NS, addr, 5*time.Second) })
			if said := ktraceRead(t, file, "diagnose", "-o", "json"); strings.Contains(said, `"type":"finding"`) {
				t.Errorf("of a connection:\n%s", said)
			}
			c.Node.Run(f.iptables, "-A", "FORWARD", "-p", "tcp", "--dport", "80", "-j", "REJECT", "--reject-with", f.prohibited())
			file = dumped(t, p, 2, "tcp port 80 or icmp[0] == 3 or ip6[40] == 1", func() { fetch(p.NS, addr, 5*time.Second) })
			if said := ktraceRead(t, file, "diagnose", "-o", "json"); !strings.Contains(said, `"id":"netfilter-reject"`) || !strings.Contains(said, addr) {
				t.Errorf("of a rejected connection:\n%s", said)
			}
		})
	}
}

// prohibited is the answer of a rule that says so, as iptables calls it.
func (f stack) prohibited() string {
	if f.iptables == "ip6tables" {
		return "icmp6-adm-prohibited"
	}
	return "icmp-admin-prohibited"
}

func TestReadConcludesOfATcpdumpCapture(t *testing.T) {
	t.Parallel()
	for _, f := range dnsFamilies() {
		t.Run(f.name, func(t *testing.T) {
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			f.cluster(t, c, p)
			file := dumped(t, p, 2*pings, "port 53", func() {
				for range pings {
					lookup(p, f.service, "web.example.org")
				}
			})
			lines := ktraceRead(t, file, "dns", "-o", "json")
			if n := strings.Count(lines, `"outcome":"answered"`); n != pings {
				t.Errorf("%d answered queries, want %d\n%s", n, pings, lines)
			}
		})
	}
}
