// SPDX-License-Identifier: Apache-2.0

// Package savefile writes captures to files as tcpdump does: one, or one after the other by size and time, with a
// command run on each that another follows.
//
// A file has its own name as soon as its beginning is written, and until then what was there before is left alone. What
// comes is in the file a second later at the latest, so a capture that is killed has lost no more.
package savefile

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"ktrace/cmd/internal/outfile"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/printable"
)

// Options mean what the flags of tcpdump mean.
type Options struct {
	Path       string        // -w; "-" is standard output; with Every, strftime(3) conversions count
	Size       int64         // -C, bytes: after a packet that made the file larger, the next begins another
	Every      time.Duration // -G: a packet that comes so long after the file was begun begins another
	Files      int           // -W: with Size, so many files in a ring; with Every alone, so many and then the end
	Command    string        // -z: is run with the name of each file that another follows
	Unbuffered bool          // -U: each packet is in the file at once
	Stdout     io.Writer
	Stderr     io.Writer
	Guard      *outfile.Guard // knows what other files the run has

	numbered bool // files follow each other though they have no size
}

// ErrEnough is returned once Options.Files files are written.
var ErrEnough = errors.New("as many files as were asked for")

// Files is a capture in the making.
type Files struct {
	*capture.Writer
	o       Options
	file    *outfile.File
	name    string
	flushed time.Duration // since boot: what came until then is in the file
	begun   time.Time     // by the clock of the packets
	ready   bool          // the file has its beginning
	number  int           // of the file, with Size
	opened  int           // with Every
	enough  bool          // Options.Files are written
	running sync.WaitGroup
}

// Create begins the first file, at the given time.
func Create(o Options, w *capture.Writer, now time.Time) (*Files, error) {
	f := &Files{Writer: w, o: o, begun: now}
	return f, f.open(now)
}

// open creates the file that is next.
func (f *Files) open(now time.Time) error {
	if f.o.Path == "-" {
		return nil
	}
	f.name = f.next(now)
	file, err := f.o.Guard.CreateLive("-w", f.name)
	if err == nil {
		f.file = file
	}
	return err
}

// begin writes the beginning of the file, once it is known which node it is of.
func (f *Files) begin() error {
	if f.ready {
		return nil
	}
	f.ready = true
	if f.file == nil {
		return f.Writer.Begin(f.o.Stdout)
	}
	if err := f.Writer.Begin(f.file); err != nil {
		return err
	}
	return f.Writer.Flush()
}

// Piped reports whether the capture goes to standard output.
func (f *Files) Piped() bool { return f.o.Path == "-" }

// Record implements decoder.Recorder. The first record is the fact about the node.
func (f *Files) Record(raw []byte, e event.Event) error {
	if err := f.Writer.Record(raw, e); err != nil {
		return err
	}
	if f.ready {
		return f.flush(raw)
	}
	if err := f.begin(); err != nil {
		return err
	}
	return f.Idle()
}

// flushEvery is how much a capture that is killed may lose, by the time of its records.
const flushEvery = time.Second

// flush writes what has waited for long when a record comes.
func (f *Files) flush(raw []byte) error {
	now := time.Duration(event.RecordTime(raw))
	if (now - f.flushed).Abs() < flushEvery {
		return nil
	}
	f.flushed = now
	return f.Writer.Save()
}

// Written is how many packets are in files.
func (f *Files) Written() uint64 { return f.Writer.Packets }

// Idle is called when nothing more is there to write at once: who reads from a pipe wants to see what came.
func (f *Files) Idle() error {
	if f.o.Unbuffered || f.o.Path == "-" {
		return f.Writer.Flush()
	}
	return nil
}

// next is the name of the file that is next: name, name1, name2; with a ring name00, name01, so that they sort.
func (f *Files) next(now time.Time) string {
	name := f.o.Path
	if f.o.Every > 0 {
		name = strftime(name, now)
	}
	switch {
	case f.follow() && f.o.Files > 1:
		return fmt.Sprintf("%s%0*d", name, len(strconv.Itoa(f.o.Files-1)), f.number)
	case f.follow() && f.number > 0:
		return fmt.Sprintf("%s%d", name, f.number)
	}
	return name
}

// follow reports whether files have numbers.
func (f *Files) follow() bool { return f.o.Size > 0 || f.o.numbered }

// advance goes on to the next number, from the last of a ring to the first.
func (f *Files) advance() {
	f.number++
	if f.o.Files > 0 {
		f.number %= f.o.Files
	}
}

// Packet writes the record of a packet that came at a time, in the next file if this one is full or old.
func (f *Files) Packet(raw []byte, at time.Time) error {
	if err := errors.Join(f.rotate(at), f.begin()); err != nil {
		return err
	}
	if err := f.Writer.RecordRaw(raw); err != nil {
		return err
	}
	if f.o.Unbuffered {
		return f.Writer.Flush()
	}
	return f.flush(raw)
}

func (f *Files) rotate(at time.Time) error {
	if f.o.Path == "-" {
		return nil
	}
	switch {
	case f.o.Every > 0 && at.Sub(f.begun) >= f.o.Every:
		f.opened++
		if f.o.Size == 0 && f.o.Files > 0 && f.opened >= f.o.Files {
			f.enough = true
			return ErrEnough
		}
		f.begun, f.number = at, 0
	case f.o.Size > 0 && f.Writer.Size() > f.o.Size:
		f.advance()
	default:
		return nil
	}
	if err := f.finish(); err != nil {
		return err
	}
	f.command()
	return f.open(at)
}

// finish completes a file.
func (f *Files) finish() error {
	begun, file := f.ready, f.file
	f.file = nil
	if !begun && file != nil { // the run failed before anything was known
		return file.Discard()
	}
	err := f.begin()
	if err == nil {
		err = f.Writer.Close()
	}
	f.ready = false
	if file == nil {
		return err
	}
	if err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Close()
}

// command has the command run on the file that is complete, beside the capture.
func (f *Files) command() {
	if f.o.Command == "" {
		return
	}
	name := f.name
	f.running.Go(func() {
		c := exec.Command(f.o.Command, name)
		c.Stdout, c.Stderr = f.o.Stderr, f.o.Stderr
		if err := c.Run(); err != nil {
			fmt.Fprintf(printable.NewLines(f.o.Stderr), "ktrace: -z %s %s: %v\n", f.o.Command, name, err)
		}
	})
}

// Close completes the last file and waits for the commands. As with tcpdump, the command is run on it only if the next
// would have been one too many.
func (f *Files) Close() error {
	err := f.finish()
	if f.enough && err == nil {
		f.command()
	}
	f.running.Wait()
	return err
}

// strftime replaces the conversions that make sense in a file's name, in local time as tcpdump does.
func strftime(pattern string, t time.Time) string {
	t = t.Local()
	layouts := map[byte]string{
		'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'b': "Jan", 'B': "January",
		'a': "Mon", 'A': "Monday", 'I': "03", 'p': "PM", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04",
		'D': "01/02/06", 'z': "-0700", 'Z': "MST", 'e': "_2",
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' || i+1 == len(pattern) {
			b.WriteByte(pattern[i])
			continue
		}
		i++
		switch layout, ok := layouts[pattern[i]]; {
		case ok:
			b.WriteString(t.Format(layout))
		case pattern[i] == 's':
			fmt.Fprint(&b, t.Unix())
		case pattern[i] == '%':
			b.WriteByte('%')
		default:
			b.WriteString(pattern[i-1 : i+1])
		}
	}
	return b.String()
}
