// SPDX-License-Identifier: Apache-2.0

package savefile

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
)

// packets writes packets of 1000 bytes, one a second, and returns what files there are and how many packets each has.
func packets(t *testing.T, o Options, n int) (counts map[string]int, ended bool) {
	t.Helper()
	dir := t.TempDir()
	o.Path, o.Stderr = filepath.Join(dir, o.Path), io.Discard
	start := time.Unix(1_700_000_000, 0)
	f, err := Create(o, capture.NewWriter(capture.Options{}), start)
	if err != nil {
		t.Fatal(err)
	}
	node, err := event.EncodeFact(0, event.Fact{Node: &event.Node{Name: "n"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Record(node, decoded(t, node)); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		at := start.Add(time.Duration(i) * time.Second)
		raw := event.RawFrame{Time: time.Duration(at.UnixNano()), Ifindex: 1, Length: 1000, Ethernet: true, Data: make([]byte, 1000)}.Append(nil)
		err := f.Packet(raw, at)
		if ended = errors.Is(err, ErrEnough); ended {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	counts = map[string]int{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		counts[e.Name()] = count(t, filepath.Join(dir, e.Name()))
	}
	return counts, ended
}

func count(t *testing.T, name string) (n int) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := pcapng.NewReader(file, pcapng.ReaderOptions{})
	var p pcapng.Packet
	for {
		err := r.ReadPacket(&p)
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

func TestFilesAreNamedAsTcpdumpNamesThem(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     Options
		n     int
		files []string
		total int
		ended bool
	}{
		{"one file", Options{Path: "x"}, 30, []string{"x"}, 30, false},
		{"by size", Options{Path: "x", Size: 10_000}, 30, []string{"x", "x1", "x2"}, 30, false},
		{"a ring, padded so that names sort", Options{Path: "x", Size: 1000, Files: 11}, 6, []string{"x00", "x01", "x02", "x03", "x04", "x05"}, 6, false},
		{"a ring of one", Options{Path: "x", Size: 1000, Files: 1}, 7, []string{"x"}, 1, false},
		{"a ring that is full overwrites", Options{Path: "x", Size: 1000, Files: 2}, 7, []string{"x0", "x1"}, 2, false},
		{"by time", Options{Path: "x%s", Every: 10 * time.Second}, 25, []string{"x1700000000", "x1700000010", "x1700000020"}, 25, false},
		{"by time, so many", Options{Path: "x%s", Every: 10 * time.Second, Files: 2}, 25, []string{"x1700000000", "x1700000010"}, 20, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			counts, ended := packets(t, c.o, c.n)
			var names []string
			total := 0
			for name, n := range counts {
				names = append(names, name)
				total += n
			}
			slices.Sort(names)
			if !slices.Equal(names, c.files) || total != c.total || ended != c.ended {
				t.Errorf("files %v, ended %v; want %v with %d packets, %v", counts, ended, c.files, c.total, c.ended)
			}
		})
	}
}

func TestTheCommandRunsOnEachFileThatAnotherFollows(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "note")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$1\" >>"+dir+"/seen\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		o    Options
		last int // files on which it is not run
	}{
		{Options{Path: "x", Size: 10_000}, 1},
		{Options{Path: "x%s", Every: 10 * time.Second, Files: 2}, 0}, // after which it ends
	} {
		tt.o.Command = script
		counts, _ := packets(t, tt.o, 30)
		seen, err := os.ReadFile(filepath.Join(dir, "seen"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(seen), "\n"); got != len(counts)-tt.last {
			t.Errorf("%+v: ran %d times for %d files", tt.o, got, len(counts))
		}
		if err := os.Remove(filepath.Join(dir, "seen")); err != nil {
			t.Fatal(err)
		}
	}
}

// script is a ring that says what the test wants, and whether there is more.
type script struct {
	records [][]byte
	more    []bool
}

func (s *script) Next(context.Context) ([]byte, error) {
	if len(s.records) == 0 {
		return nil, io.EOF
	}
	raw := s.records[0]
	s.records = s.records[1:]
	return raw, nil
}

func (s *script) Waiting() bool {
	more := s.more[0]
	s.more = s.more[1:]
	return more
}

// sink counts packets.
type sink struct{ packets, idle int }

func (s *sink) Packet([]byte, time.Time) error   { s.packets++; return nil }
func (s *sink) Record([]byte, event.Event) error { return nil }
func (s *sink) Idle() error                      { s.idle++; return nil }
func (s *sink) Wall() time.Duration              { return 0 }
func (s *sink) Written() uint64                  { return uint64(s.packets) }

func TestDrainHoldsNoPacketBackWhenNothingFollows(t *testing.T) {
	tick, err := event.EncodeFact(0, event.Fact{})
	if err != nil {
		t.Fatal(err)
	}
	packet := event.RawFrame{Ethernet: true, Data: make([]byte, 60), Length: 60}.Append(nil)
	var to sink
	d := Drain{Ring: &script{records: [][]byte{packet, packet, tick, tick}, more: []bool{true, true, false, false}}, Files: &to, Also: &to}
	if raw, err := d.Next(t.Context()); err != nil || event.IsPacket(raw) {
		t.Fatal(err)
	}
	if to.packets != 2 || to.idle != 1 {
		t.Errorf("%d packets passed on, %d times idle", to.packets, to.idle)
	}
	if _, err := d.Next(t.Context()); err != nil || to.idle != 1 {
		t.Errorf("%v, %d times idle", err, to.idle)
	}
}

// full is a recorder on a full disk.
type full struct{}

func (full) Record([]byte, event.Event) error { return errFull }

var errFull = errors.New("full")

// TestDrainPassesOnWhatItHoldsIfAnotherFileIsFull: what came is in this one.
func TestDrainPassesOnWhatItHoldsIfAnotherFileIsFull(t *testing.T) {
	packet := event.RawFrame{Ethernet: true, Data: make([]byte, 60), Length: 60}.Append(nil)
	var to sink
	d := Drain{Ring: &script{records: [][]byte{packet, packet}, more: []bool{true, true}}, Files: &to, Also: full{}}
	if _, err := d.Next(t.Context()); !errors.Is(err, errFull) || to.packets != 1 {
		t.Errorf("error %v, %d packets passed on, want 1", err, to.packets)
	}
}

// decoded is the event of a raw record.
func decoded(t testing.TB, raw []byte) event.Event {
	t.Helper()
	e, err := event.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
