// SPDX-License-Identifier: Apache-2.0

package savefile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ktrace/decoder"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/record"
)

// again are records that come again and again.
type again struct {
	records [][]byte
	next    int
}

// Next implements decoder.Frames.
func (a *again) Next(context.Context) ([]byte, error) {
	a.next++
	return a.records[(a.next-1)%len(a.records)], nil
}

// recorded are the records that the kernel's programs sent in the runs of testdata, without facts.
func recorded(b *testing.B) *again {
	b.Helper()
	names, err := filepath.Glob("../../../testdata/records/*.rec")
	if err != nil || len(names) == 0 {
		b.Fatal("no records: ", err)
	}
	var all again
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer file.Close()
		r, err := record.NewReader(file)
		for err == nil {
			var raw []byte
			if raw, err = r.Next(b.Context()); err == nil && !event.IsFact(raw) {
				all.records = append(all.records, bytes.Clone(raw))
			}
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(name, err)
		}
	}
	return &all
}

// BenchmarkStream is what a record of the kernel's programs costs on its way to an event, and into a recording.
func BenchmarkStream(b *testing.B) {
	writer := capture.NewWriter(capture.Options{Snap: 262144})
	if err := writer.Begin(io.Discard); err != nil {
		b.Fatal(err)
	}
	const memory = 1 << 20 // is full soon, so that the oldest records are evicted
	flight, err := NewFlight(Options{Path: filepath.Join(b.TempDir(), "x"), Stderr: io.Discard},
		FlightOptions{Bytes: memory, Trigger: &Trigger{}}, capture.NewWriter(capture.Options{}))
	if err != nil {
		b.Fatal(err)
	}
	for _, to := range []struct {
		name     string
		recorder decoder.Recorder
	}{{"decode", nil}, {"decode and write", writer}, {"decode and keep", flight}} {
		b.Run(to.name, func(b *testing.B) {
			b.ReportAllocs()
			s := &decoder.Stream{Frames: recorded(b), Recorder: to.recorder}
			for b.Loop() {
				if _, err := s.Next(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
