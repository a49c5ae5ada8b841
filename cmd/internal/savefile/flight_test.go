// SPDX-License-Identifier: Apache-2.0

package savefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/eventfilter"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapng"
)

// recorder is a flight recorder under test, whose packets are 1000 bytes each and have numbers.
type recorder struct {
	*Flight
	t    *testing.T
	dir  string
	sent int
}

func newRecorder(t *testing.T, o Options, flight FlightOptions) *recorder {
	t.Helper()
	dir := t.TempDir()
	o.Path, o.Stderr = filepath.Join(dir, "x"), io.Discard
	flight.Trigger = &Trigger{}
	f, err := NewFlight(o, flight, capture.NewWriter(capture.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{Flight: f, t: t, dir: dir}
	r.say(event.Fact{Node: &event.Node{Name: "n"}})
	return r
}

func (r *recorder) say(f event.Fact) {
	r.t.Helper()
	raw, err := event.EncodeFact(time.Duration(r.sent), f)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Record(raw, decoded(r.t, raw)); err != nil {
		r.t.Fatal(err)
	}
}

// send records packets, numbered from 1 on.
func (r *recorder) send(n int) {
	r.t.Helper()
	for range n {
		r.sent++
		data := make([]byte, 1000)
		data[0], data[1] = byte(r.sent>>8), byte(r.sent)
		raw := event.RawFrame{Time: time.Duration(r.sent), Netns: 1, Ifindex: 1, Length: 1000, Ethernet: true, Data: data}.Append(nil)
		if err := r.Packet(raw, time.Time{}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// numbers are those of the packets in a file, in order, and what its interfaces say was lost.
func (r *recorder) numbers(name string) (numbers []int, lost uint64) {
	r.t.Helper()
	file, err := os.Open(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	blocks := pcapng.NewReader(file, pcapng.ReaderOptions{})
	for {
		b, err := blocks.Next()
		if err == io.EOF {
			return numbers, lost
		}
		if err != nil {
			r.t.Fatal(err)
		}
		var p pcapng.Packet
		switch {
		case b.IsPacket():
			if err := b.Packet(&p); err != nil {
				r.t.Fatal(err)
			}
			numbers = append(numbers, int(p.Data[0])<<8|int(p.Data[1]))
		case b.Type == pcapng.BlockStatistics:
			s, err := b.Statistics()
			if err != nil {
				r.t.Fatal(err)
			}
			n, _ := s.Options.Uint64(pcapng.StatOSDropped)
			lost += n
		}
	}
}

func wantRun(t *testing.T, numbers []int, first, last int) {
	t.Helper()
	for i, n := range numbers {
		if n != first+i {
			t.Errorf("packet %d of the file is number %d, want %d", i, n, first+i)
			return
		}
	}
	if len(numbers) != last-first+1 {
		t.Errorf("%d packets, want %d to %d", len(numbers), first, last)
	}
}

func TestFlightWritesWhatWasBeforeAndAfter(t *testing.T) {
	r := newRecorder(t, Options{}, FlightOptions{Bytes: 100_000, After: time.Hour})
	r.send(500)
	held := r.memory.count
	if held < 80 || held > 100 {
		t.Fatalf("%d packets of 1000 bytes in 100000", held)
	}
	r.Trigger().Fire("because")
	r.send(30)
	r.Trigger().Fire("is in the file already")
	r.send(30)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	numbers, _ := r.numbers("x")
	wantRun(t, numbers, 500-held+2, 560) // the packet with which it is noticed had the place of the oldest
	if names, _ := os.ReadDir(r.dir); len(names) != 1 {
		t.Errorf("files %v", names)
	}
	if got := r.Written() + r.Evicted(); got != 560 {
		t.Errorf("%d written and %d not, of 560", r.Written(), r.Evicted())
	}
}

// TestFlightHasWhatWasBeforeASignal: packets that are read after it, for they were in the kernel's ring, came before.
func TestFlightHasWhatWasBeforeASignal(t *testing.T) {
	r := newRecorder(t, Options{}, FlightOptions{Bytes: 100_000})
	r.send(10)
	r.Trigger().FireAt(20, "a signal")
	r.send(12) // the one after it begins the file, and the next ends it
	r.send(1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	numbers, _ := r.numbers("x")
	if len(numbers) < 20 {
		t.Errorf("%d packets, want the 20 that were before", len(numbers))
	}
	wantRun(t, numbers, 1, len(numbers))
}

func TestFlightGoesOnInNumberedFiles(t *testing.T) {
	r := newRecorder(t, Options{}, FlightOptions{Bytes: 100_000, After: time.Minute})
	for range 3 {
		r.send(10)
		r.Trigger().Fire("because")
		r.send(1)
		r.until = r.until.Add(-time.Hour)
		r.send(1)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"x", "x1", "x2"} {
		numbers, _ := r.numbers(name)
		wantRun(t, numbers, i*12+1, i*12+12)
	}
}

func TestFlightCountsWhatWasLostMeanwhile(t *testing.T) {
	device := func(lost uint64) event.Fact {
		return event.Fact{Device: &event.Device{Netns: 1, Ifindex: 1, Name: "eth0", Lost: lost}}
	}
	r := newRecorder(t, Options{}, FlightOptions{Bytes: 20_000, After: time.Hour})
	r.say(device(0))
	r.send(10)
	r.say(device(7)) // forgotten with the packets around
	r.send(100)
	r.say(device(10))
	r.send(5)
	r.Trigger().Fire("because")
	r.send(1)
	r.say(device(14))
	r.send(1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, lost := r.numbers("x"); lost != 7 || r.Lost() != 14 {
		t.Errorf("%d lost in the file, want 14 - 7; %d in all, want 14", lost, r.Lost())
	}
}

func TestFlightFiresOnAPacket(t *testing.T) {
	e, err := pcapfilter.Parse("ether[0:2] = 77")
	if err != nil {
		t.Fatal(err)
	}
	on, err := eventfilter.NewFrameFilter(e)
	if err != nil {
		t.Fatal(err)
	}
	r := newRecorder(t, Options{Files: 3}, FlightOptions{Bytes: 20_000, After: time.Hour, Packets: on})
	r.send(100)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	numbers, _ := r.numbers("x0")
	if len(numbers) == 0 || numbers[0] > 60 {
		t.Fatalf("packets %v", numbers)
	}
	wantRun(t, numbers, numbers[0], 100)
}

func TestFlightThatNothingFiredWritesNothing(t *testing.T) {
	r := newRecorder(t, Options{}, FlightOptions{Bytes: 20_000})
	r.send(100)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(r.dir); len(names) != 0 || r.Written() != 0 || r.Evicted() != 100 {
		t.Errorf("files %v, %d written, %d not", names, r.Written(), r.Evicted())
	}
}

func TestFlightSaysThatAFileCannotBeWritten(t *testing.T) {
	r := newRecorder(t, Options{}, FlightOptions{Bytes: 20_000})
	r.o.Path = "/dev/full"
	r.send(10)
	r.Trigger().Fire("because")
	raw := event.RawFrame{Netns: 1, Ifindex: 1, Length: 60, Ethernet: true, Data: make([]byte, 60)}.Append(nil)
	if err := r.Packet(raw, time.Time{}); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "-w /dev/full: ") {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); !errors.Is(err, syscall.ENOSPC) || r.file != nil {
		t.Errorf("closed with %v, the file is %v", err, r.file)
	}
}

func (r *recorder) Trigger() *Trigger { return r.flight.Trigger }
