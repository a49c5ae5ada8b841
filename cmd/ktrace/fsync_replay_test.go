package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
	"ktrace/decoder/record"
)

// lastCounts are the last of a recording.
func lastCounts(t *testing.T, recording string) decoder.FsyncCounts {
	t.Helper()
	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frames, err := record.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var last decoder.FsyncCounts
	stream := &decoder.Stream{Frames: frames}
	for {
		e, err := stream.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return last
		}
		if err != nil {
			t.Fatal(err)
		}
		if fact, ok := e.Body.(decoder.Fact); ok && fact.Fsync != nil && fact.Fsync.Counts != nil {
			last = *fact.Fsync.Counts
		}
	}
}

func TestFsyncRecordingSaysWhatTheRunSaid(t *testing.T) {
	disk := newDisk(t, "ext4")
	fd := open(t, filepath.Join(directory(t, disk, "wal"), "0.wal"), 0)
	recording := filepath.Join(t.TempDir(), "rec")
	live := during(t, func() { own(t, fd, 300) }, "--path", disk, "--limit", "1us", "--slow", every, "--record", recording)
	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	view, _ := fsyncView(fsyncOptions{slow: time.Nanosecond})
	var out, said bytes.Buffer
	if err := cli.Replay(t.Context(), cli.Flags{Output: "json"}, view, cli.Streams{Out: &out, Err: &said}, f); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for _, l := range live.lines {
		want.Write(l.Raw)
		want.WriteByte('\n')
	}
	if !bytes.Equal(out.Bytes(), want.Bytes()) {
		t.Errorf("the recording says\n%s\nthe run said\n%s", out.Bytes(), want.Bytes())
	}
}
