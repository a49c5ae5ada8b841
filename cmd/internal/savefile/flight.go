// SPDX-License-Identifier: Apache-2.0

package savefile

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"ktrace/cmd/internal/outfile"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/eventfilter"
)

// Trigger has a flight recorder write a file. It may be fired from any goroutine.
type Trigger struct{ firing atomic.Pointer[firing] }

type firing struct {
	why string
	at  time.Duration // since boot
}

// Fire has the recorder write what it has, for a reason that the file names.
func (t *Trigger) Fire(why string) { t.FireAt(0, why) }

// FireAt is Fire for what did not come with a record: the file begins once the recorder has all that happened before, by the
// time since boot.
func (t *Trigger) FireAt(at time.Duration, why string) { t.firing.Store(&firing{why, at}) }

// take returns why the recorder is to write, now that it has what happened until then; "" if it is not. What fires while a
// file is written begins no other.
func (t *Trigger) take(until time.Duration, writing bool) (why string) {
	x := t.firing.Load()
	if x == nil || x.at > until && !writing {
		return ""
	}
	if !t.firing.CompareAndSwap(x, nil) || writing { // fired again meanwhile: next time
		return ""
	}
	return x.why
}

// FlightOptions bound what is kept in memory, and choose what is written of it.
type FlightOptions struct {
	Bytes   int                      // of memory for records
	After   time.Duration            // how long what follows a trigger is written too
	Trigger *Trigger                 // who fires it
	Packets *eventfilter.FrameFilter // a packet that passes fires too; nil for none
}

// Flight is a flight recorder: it keeps the newest packets and other records in memory. A trigger has it write them into a
// file, with what follows for a while; another trigger meanwhile begins no other file.
type Flight struct {
	*Files
	flight  FlightOptions
	memory  *ring
	window  window    // of what is being written
	until   time.Time // when the file is complete; zero while none is written
	dumps   int
	err     error  // of recording a fact that was evicted
	written uint64 // packets, in files
	kept    uint64 // packets in memory
	dropped uint64 // packets that were evicted
}

// inFlight is how many records are held back to sort them: other records than packets come here unsorted.
const inFlight = 4 * inWindow

// heldAtMost is how long packets are held back to be sorted while other records go on.
const heldAtMost = time.Second

// NewFlight returns a recorder that has written nothing yet. Files are named as with -C; with -W the oldest is
// overwritten. It fails if none could be written: it may be days until something fires.
func NewFlight(o Options, flight FlightOptions, w *capture.Writer) (*Flight, error) {
	o.numbered = true
	return &Flight{Files: &Files{Writer: w, o: o}, flight: flight, memory: newRing(flight.Bytes)}, outfile.Writable("-w", o.Path)
}

// Evicted is how many packets were neither written nor lost: newer ones took their place, or nothing fired until the
// end.
func (f *Flight) Evicted() uint64 { return f.dropped + f.kept }

// Written implements Sink. Dropped packets are not among them: each was counted as a packet before.
func (f *Flight) Written() uint64 { return f.written }

// Record implements decoder.Recorder: all is kept, for findings rest on it.
func (f *Flight) Record(raw []byte, e event.Event) error {
	if body, ok := e.Body.(event.Fact); ok {
		if body == (event.Fact{}) {
			return f.poll(event.RecordTime(raw))
		}
		if body.Node != nil { // the times of all others need it
			if err := f.Writer.Record(raw, e); err != nil {
				return err
			}
		}
	}
	if err := f.add(raw); err != nil {
		return err
	}
	return f.poll(max(0, event.RecordTime(raw)-heldAtMost))
}

// Packet keeps a packet, or writes it.
func (f *Flight) Packet(raw []byte, _ time.Time) error {
	if err := f.add(raw); err != nil {
		return err
	}
	if f.flight.Packets != nil && f.until.IsZero() && f.passes(raw) {
		f.flight.Trigger.Fire("a packet passed the expression")
	}
	return f.poll(event.RecordTime(raw))
}

func (f *Flight) passes(raw []byte) bool {
	p, err := event.DecodeFrame(raw)
	return err == nil && f.flight.Packets.Match(p)
}

// add puts a record into memory, or into the file that is being written.
func (f *Flight) add(raw []byte) error {
	if !f.until.IsZero() {
		f.window.insert(raw)
		return f.window.release(inFlight, f.write)
	}
	if event.IsPacket(raw) {
		f.kept++
	}
	f.memory.put(raw, f.evict)
	err := f.err
	f.err = nil
	return err
}

// evict records a fact that leaves the memory: a file that begins later needs it.
func (f *Flight) evict(raw []byte) {
	if event.IsPacket(raw) {
		f.kept--
		f.dropped++
		return
	}
	if event.IsFact(raw) {
		f.err = f.Writer.RecordRaw(raw)
	}
}

// poll begins a file if a trigger fired, and finishes it when its time has come. All that happened until a time since boot is
// here.
func (f *Flight) poll(until time.Duration) error {
	if why := f.flight.Trigger.take(until, !f.until.IsZero()); why != "" {
		return f.dump(why)
	}
	if !f.until.IsZero() && time.Now().After(f.until) {
		return f.finishDump()
	}
	return nil
}

// dump writes what is in memory.
func (f *Flight) dump(why string) error {
	if f.dumps > 0 {
		f.advance()
	}
	f.dumps++
	f.Writer.Note(why)
	if err := f.open(time.Now()); err != nil {
		return err
	}
	if err := f.begin(); err != nil {
		return err
	}
	for f.memory.count > 0 {
		f.window.insert(f.memory.take())
		if err := f.window.release(inFlight, f.write); err != nil {
			return err
		}
	}
	f.kept = 0
	f.until = time.Now().Add(f.flight.After)
	return nil
}

func (f *Flight) write(raw []byte) error {
	if event.IsPacket(raw) {
		f.written++
	}
	if err := f.Writer.RecordRaw(raw); err != nil {
		return err
	}
	return f.flush(raw)
}

// finishDump completes the file.
func (f *Flight) finishDump() error {
	f.until = time.Time{}
	if err := f.window.release(0, f.write); err != nil {
		return err
	}
	if err := f.finish(); err != nil {
		return err
	}
	f.command()
	return nil
}

// Close writes what fired at the very end, completes the file that is being written, if any, and waits for the commands.
// The last facts are recorded, so that Lost counts with them.
func (f *Flight) Close() error {
	err := f.poll(math.MaxInt64)
	if err == nil && !f.until.IsZero() {
		err = f.finishDump()
	}
	if f.file != nil { // it could not be written to its end
		err = errors.Join(err, f.finish())
	}
	for f.memory.count > 0 {
		if raw := f.memory.take(); !event.IsPacket(raw) {
			f.evict(raw)
		}
	}
	f.running.Wait()
	return err
}
