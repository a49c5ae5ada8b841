// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/testdata/lab"
)

// lastCounts are the last of a recording.
func lastCounts(t *testing.T, recording string) (last event.FsyncCounts) {
	t.Helper()
	for _, raw := range rawRecords(t, recording) {
		e, err := event.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if fact, ok := e.Body.(event.Fact); ok && fact.Fsync != nil && fact.Fsync.Counts != nil {
			last = *fact.Fsync.Counts
		}
	}
	return last
}

// TestFsyncFilesSayWhatTheRunSaid has more syncs than go beside one block of a capture.
func TestFsyncFilesSayWhatTheRunSaid(t *testing.T) {
	disk := newDisk(t, "ext4")
	fd := open(t, filepath.Join(directory(t, disk, "wal"), "0.wal"), 0)
	recording, capture := filepath.Join(t.TempDir(), "rec"), filepath.Join(t.TempDir(), "run.pcapng")
	live := during(t, func() { own(t, fd, 1000) },
		"--path", disk, "--limit", "1us", "--slow", every, "--record", recording, "-w", capture)
	if len(live.events) != 1000 {
		t.Fatalf("%d syncs shown, want 1000", len(live.events))
	}
	view, _ := fsyncView(fsyncOptions{slow: time.Nanosecond})
	want := text(live.lines)
	if got := replayed(t, recording, view); got != want {
		t.Errorf("the recording says\n%s\nthe run said\n%s", got, want)
	}
	read, _, _ := lab.Read(t, capture, "fsync", "--slow", every)
	if got := text(read); got != want {
		t.Errorf("the capture says\n%s\nthe run said\n%s", got, want)
	}
}

// replayed is what a view says of a recording, as JSON.
func replayed(t *testing.T, recording string, v replay.View) string {
	t.Helper()
	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out, said bytes.Buffer
	if err := replay.Replay(t.Context(), flags.Flags{Output: "json"}, func() (replay.View, error) { return v, nil }, replay.Streams{Out: &out, Err: &said}, capture.File{Name: recording, Reader: f}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// text is what a run said, line by line.
func text(lines []lab.Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.Write(l.Raw)
		b.WriteByte('\n')
	}
	return b.String()
}
