// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/testdata/lab"
)

// smallDisk is a file system in memory that has room for so many bytes.
func smallDisk(t *testing.T, bytes string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+bytes); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestAFullDiskIsAnErrorOfEveryFile: what was seen is said all the same, and the error names the file.
func TestAFullDiskIsAnErrorOfEveryFile(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--record", "-w", "--ready-file"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("a")
			disk := smallDisk(t, "8k") // the facts about the node take more
			if flag == "--ready-file" {
				fill(t, disk)
			}
			file := filepath.Join(disk, "x")
			args := []string{"drop", "--netns", p.Path(), "-o", "json", flag, file}
			run := lab.StartKtrace(t, append(args, "-d", "1s")...)
			lines, status := run.Wait()
			if said := run.Stderr(); status != 1 || !strings.Contains(said, flag+" "+file+": no space left on device") || !strings.Contains(said, "df -h "+disk) {
				t.Errorf("status %d, said %q", status, said)
			}
			if flag != "--ready-file" {
				lab.Summary(t, lines)
			}
		})
	}
}

// fill leaves no inode, and no room, on a disk.
func fill(t *testing.T, disk string) {
	t.Helper()
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, "nr_inodes=1"); err != nil {
		t.Fatal(err)
	}
}

// TestOutputWithoutAReaderIsQuiet has a reader go while ktrace records: that is no failure, and costs the recording
// nothing.
func TestOutputWithoutAReaderIsQuiet(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	file := filepath.Join(t.TempDir(), "x.rec")
	ready := filepath.Join(t.TempDir(), "ready")
	run := lab.KtraceUnder(t, `{ "$@"; echo "status $?" >&2; } | head -n 1`, "drop", "--netns", p.Path(), "--record", file, "--ready-file", ready, "-d", "30s")
	eventually(t, "it is attached", func() bool { _, err := os.Stat(ready); return err == nil })
	c.Node.Run("iptables", "-A", "FORWARD", "-p", "tcp", "--dport", "81", "-j", "DROP")
	go fetch(p.NS, net.JoinHostPort(lab.ServerAddr, "81"), patience)
	run.Wait()
	if said := run.Stderr(); said != "status 0\n" {
		t.Errorf("said %q", said)
	}
	if said := ktraceRead(t, file, "drop"); !strings.Contains(said, "NETFILTER_DROP") {
		t.Errorf("the recording says\n%s", said)
	}
}

// TestWhatIsKilledKeepsWhatItSaw kills a run as the kernel does that is short of memory: the recording and the capture
// name the cause that was seen a second before.
func TestWhatIsKilledKeepsWhatItSaw(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	c.Node.Run("iptables", "-A", "FORWARD", "-p", "tcp", "--dport", "81", "-j", "DROP")
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "x.rec"), filepath.Join(dir, "x.pcapng")}
	for _, file := range files {
		if err := os.WriteFile(file, []byte("what was here before"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := lab.Ktrace(t, "drop", "--netns", p.Path(), "--record", files[0], "-w", files[1])
	fetch(p.NS, net.JoinHostPort(lab.ServerAddr, "81"), patience)
	run.AwaitFinding("netfilter-drop")
	for _, file := range files {
		eventually(t, file+" has the drop while it is written", func() bool {
			lines, _, _ := lab.Read(t, file, "drop")
			found := lab.Findings(lines)
			return len(found) == 1 && strings.Contains(string(found[0].Raw), "the rule (certain)")
		})
	}
	if err := syscall.Kill(run.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	run.Wait()
	for _, file := range files {
		if said := ktraceRead(t, file, "drop", "-o", "json"); !strings.Contains(said, `"id":"netfilter-drop"`) || !strings.Contains(said, "the rule (certain)") {
			t.Errorf("%s says\n%s", file, said)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != len(files) {
		t.Errorf("there are %v", names)
	}
}

// TestARecordingBesideACaptureHasItsPackets: what goes to the one file is not missing in the other.
func TestARecordingBesideACaptureHasItsPackets(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	dir := t.TempDir()
	recording, file := filepath.Join(dir, "x.rec"), filepath.Join(dir, "x.pcapng")
	run := lab.Ktrace(t, "capture", "--netns", p.Path(), "-w", file, "--record", recording, "icmp")
	ping(p.NS, lab.ServerAddr)
	run.Stop()
	for _, name := range []string{recording, file} {
		if said := ktraceRead(t, name, "--no-header"); strings.Count(said, "ICMP echo re") != 2*pings {
			t.Errorf("%s says\n%s", name, said)
		}
	}
	if rows := tool(t, "tshark", "-r", file); strings.Count(rows, "\n") != 2*pings {
		t.Errorf("tshark shows\n%s", rows)
	}
}

// TestAFileThatIsCutSaysByHowMuch cuts a recording and captures within their last record.
func TestAFileThatIsCutSaysByHowMuch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, view string }{
		{filepath.Join(records, "drop-netfilter-reject.rec"), "drop"},
		{zipped(t, filepath.Join(records, "drop-netfilter-reject.rec")), "drop"},
		{filepath.Join(captures, "dumpcap.pcapng"), "--stats"},
		{filepath.Join(captures, "tcpdump-nano.pcap"), "diagnose"},
		{filepath.Join(captures, "tcpdump-nano.pcap.gz"), "--stats"},
	} {
		whole, err := os.ReadFile(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), filepath.Base(tt.name))
		if err := os.WriteFile(file, whole[:len(whole)-5], 0o644); err != nil {
			t.Fatal(err)
		}
		run := lab.StartKtrace(t, "read", file, tt.view, "-o", "json")
		if lines, status := run.Wait(); status != 0 && status != 3 || len(lines) == 0 {
			t.Errorf("%s: status %d, %d lines", tt.name, status, len(lines))
		}
		said := run.Stderr()
		if !strings.Contains(said, "warning: "+file+": offset ") || !strings.Contains(said, "cut short: ") || !strings.Contains(said, " bytes are there") {
			t.Errorf("%s: said %q", tt.name, said)
		}
	}
}

// zipped is a file in gzip.
func zipped(t *testing.T, name string) string {
	t.Helper()
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(whole); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), filepath.Base(name)+".gz")
	if err := os.WriteFile(name, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestACopyLeavesItsInputAlone has the copy of a file be the file, by several names.
func TestACopyLeavesItsInputAlone(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(filepath.Join(captures, "dumpcap.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, link, hard, other := filepath.Join(dir, "x"), filepath.Join(dir, "link"), filepath.Join(dir, "hard"), filepath.Join(dir, "other")
	for _, name := range []string{file, other} {
		if err := os.WriteFile(name, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, hard); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		`"$@" "$x" -w "$x"`, `"$@" "$x" -w link`, `"$@" link -w "$x"`, `"$@" "$x" -w hard`, `"$@" other "$x" -w "$x"`, `"$@" "$x" -w /dev/fd/3 3>>"$x"`,
		`"$@" "$x" -w - >>"$x"`, `"$@" "$x" --stats >>"$x"`, `"$@" - -w "$x" <"$x"`,
	} {
		run := lab.KtraceUnder(t, `cd `+dir+`; x=x; `+command, "read")
		if _, status := run.Wait(); status != 2 || !strings.Contains(run.Stderr(), "has another use") {
			t.Errorf("%s: status %d, said %q", command, status, run.Stderr())
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != string(whole) {
			t.Fatalf("%s: the file has %d bytes of %d, error %v", command, len(now), len(whole), err)
		}
	}
}

// TestARunThatFailsAtOnceLeavesWhatWasThere: nothing was recorded that could take its place.
func TestARunThatFailsAtOnceLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	dir := t.TempDir()
	for _, flag := range []string{"--record", "-w"} {
		file := filepath.Join(dir, "x")
		if err := os.WriteFile(file, []byte("before"), 0o644); err != nil {
			t.Fatal(err)
		}
		run := lab.StartKtrace(t, "drop", "--netns", p.Path(), flag, file, "--ready-file", filepath.Join(dir, "no", "ready"))
		if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), "mkdir -p "+filepath.Join(dir, "no")) {
			t.Errorf("%s: status %d, said %q", flag, status, run.Stderr())
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != "before" {
			t.Errorf("%s: the file has %q, error %v", flag, now, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("there are %v", names)
	}
}

// TestACopyThatFailsLeavesWhatWasThere has the disk be full half-way.
func TestACopyThatFailsLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "64k")
	file := filepath.Join(disk, "x")
	before := strings.Repeat("before", 1000)
	if err := os.WriteFile(file, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	var packets []sent
	for i := range 1000 {
		packets = append(packets, timeGoesBy(time.Duration(i)*time.Millisecond))
	}
	run := lab.StartKtrace(t, "read", foreignCapture(t, packets), "-w", file)
	if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), "-w "+file+": no space left on device") {
		t.Errorf("status %d, said %q", status, run.Stderr())
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != before {
		t.Errorf("the file has %d bytes, error %v", len(now), err)
	}
	if names, err := os.ReadDir(disk); err != nil || len(names) != 1 {
		t.Errorf("there are %v", names)
	}
}

// TestAFileHidesNothingOfAnotherNode reads syncs that are too slow with those of a node whose disk is good.
func TestAFileHidesNothingOfAnotherNode(t *testing.T) {
	t.Parallel()
	slow, good := filepath.Join(records, "fsync-cluster.rec"), filepath.Join(records, "fsync-wal.rec")
	for _, files := range [][]string{{slow, good}, {good, slow}} {
		for _, view := range []string{"fsync", "diagnose"} {
			said := ktraceRead(t, files[0], files[1], view, "-o", "json")
			if n := strings.Count(said, `"id":"fsync-slow","severity":"critical"`); n != 1 || !strings.Contains(said, `"node":"lab-node","id":"fsync-slow"`) {
				t.Errorf("%v %s: fsync-slow %d times\n%s", files, view, n, said)
			}
		}
	}
	said := ktraceRead(t, slow, good, "fsync")
	for _, want := range []string{"  node       lab-node\n", "node lab-node, " + slow + ":\n", "node vm, " + good + ":\n", "wal: 55 syncs", "wal: 455 syncs", "found fsync-slow 3× (/var/lib/etcd (wal)) on lab-node"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}

// TestWhatIsSavedForPacketsToComeIsNoRow has other programs read a file that was saved while nothing came.
func TestWhatIsSavedForPacketsToComeIsNoRow(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w := capture.NewWriter(capture.Options{})
	record := func(f event.Fact) {
		t.Helper()
		raw, err := event.EncodeFact(1, f)
		if err == nil {
			err = w.RecordRaw(raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	record(event.Fact{Node: &event.Node{Name: "a"}})
	if err := w.Begin(&file); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		record(event.Fact{Symbol: &event.Symbol{Address: uint64(i), Name: "f"}})
		if err := w.Save(); err != nil {
			t.Fatal(err)
		}
		frame := greFrame(foreignClient.Addr(), foreignRouter, uint32(i))
		if err := w.RecordRaw(event.RawFrame{Time: 5, Ifindex: 1, Length: uint32(len(frame)), Ethernet: true, Data: frame}.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(name, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	copied := name + ".copy"
	tool(t, "editcap", name, copied)
	tool(t, "capinfos", name)
	for _, args := range [][]string{{"tshark", "-r", name}, {"tshark", "-r", copied}, {"tcpdump", "-nr", name}, {"tcpdump", "-nr", copied}} {
		if rows := tool(t, args...); strings.Count(rows, "\n") != 3 {
			t.Errorf("%v shows\n%s", args, rows)
		}
	}
}
