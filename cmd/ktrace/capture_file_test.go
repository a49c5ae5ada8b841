// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// tool runs a program that reads captures; the test fails if it does.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// capturePings has ktrace write the pings between two pods, with further flags, and returns the directory.
func capturePings(t *testing.T, name string, flags ...string) (dir string, a, b *lab.Pod) {
	t.Helper()
	c := lab.NewCluster(t)
	k := lab.NewKubelet(t)
	a, b = c.AddPod("a"), c.AddPod("b")
	k.Pod("default", "web-0").Start("app", a.NS, "sleep", "600")
	k.Pod("default", "web-1").Start("app", b.NS, "sleep", "600")
	dir = t.TempDir()
	run := lab.Ktrace(t, append([]string{"capture", "--pod", "default/web-0", "--host-root", k.Root,
		"-w", filepath.Join(dir, name), "icmp"}, flags...)...)
	ping(a.NS, b.Addr)
	run.Stop()
	if !strings.Contains(run.Stderr(), "\n0 packets dropped by kernel\n") {
		t.Errorf("said %q", run.Stderr())
	}
	return dir, a, b
}

func TestCapturedFilesSayInTsharkWhatWasMeant(t *testing.T) {
	t.Parallel()
	dir, a, b := capturePings(t, "x.pcapng")
	file := filepath.Join(dir, "x.pcapng")
	lines := strings.Split(strings.TrimSpace(tool(t, "tshark", "-r", file, "-N", "n", "-T", "fields", "-E", "separator=|",
		"-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "ip.src", "-e", "ip.src_host", "-e", "ip.dst_host", "-e", "frame.comment")), "\n")
	if len(lines) != 2*pings {
		t.Fatalf("%d packets, want %d", len(lines), 2*pings)
	}
	for i, got := range lines {
		want := strings.Join([]string{"eth0@default/web-0", "0x00000002", a.Addr, "default/web-0", "default/web-1", "pod=default/web-0 peer=default/web-1"}, "|")
		if i%2 == 1 {
			want = strings.Join([]string{"eth0@default/web-0", "0x00000001", b.Addr, "default/web-1", "default/web-0", "pod=default/web-0 peer=default/web-1"}, "|")
		}
		if got != want {
			t.Errorf("packet %d\ngot  %s\nwant %s", i+1, got, want)
		}
	}
	for _, args := range [][]string{
		{"tcpdump", "-nr", file}, {"capinfos", file}, {"editcap", file, filepath.Join(dir, "e.pcapng")},
		{"mergecap", "-w", filepath.Join(dir, "m.pcapng"), file, file},
	} {
		tool(t, args...)
	}
	if n := strings.Count(tool(t, "tcpdump", "-nr", filepath.Join(dir, "m.pcapng")), "\n"); n != 4*pings {
		t.Errorf("%d packets of a file merged with itself, want %d", n, 4*pings)
	}
}

func TestCaptureCountsWhatItLosesExactly(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	file := filepath.Join(t.TempDir(), "x.pcapng")
	run := lab.Ktrace(t, "capture", "--netns", p.Path(), "--ring-bytes", "4096", "-w", file, "udp port 9999")
	const sent = 2003
	p.Do(func() {
		conn, err := net.Dial("udp", lab.ServerAddr+":9999")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for n := 0; n < sent; {
			if _, err := conn.Write(make([]byte, 1000)); err == nil {
				n++ // nothing listens: a refusal that came back is returned instead of sending
			}
		}
	})
	run.Stop()
	var captured, received, lost int
	if _, err := fmt.Sscanf(run.Stderr(), "%d packets captured\n%d packets received by filter\n%d packets dropped by kernel", &captured, &received, &lost); err != nil {
		t.Fatalf("%v: said %q", err, run.Stderr())
	}
	if n := strings.Count(tool(t, "tcpdump", "-nr", file), "\n"); n != captured {
		t.Errorf("%d packets in the file, said %d", n, captured)
	}
	if captured+lost != received || lost == 0 || received != sent {
		t.Errorf("captured %d, received %d, lost %d of %d", captured, received, lost, sent)
	}
}
