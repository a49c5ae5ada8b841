package savefile

import (
	"errors"
	"sync/atomic"
	"time"

	"ktrace/cmd/internal/outfile"
	"ktrace/decoder"
	"ktrace/decoder/capture"
)

// Trigger is what a flight recorder waits for. It may be pulled from anywhere.
type Trigger struct{ why atomic.Pointer[string] }

// Fire has the recorder write what it has, and says why.
func (t *Trigger) Fire(why string) { t.why.Store(&why) }

// FlightOptions say how much is kept in memory and what is written of it.
type FlightOptions struct {
	Bytes   int                  // of memory for records
	After   time.Duration        // how long what follows a trigger is written too
	Trigger *Trigger             // who fires it
	Packets *decoder.FrameFilter // a packet that passes fires too; nil for none
}

// Flight is a flight recorder: it keeps the newest packets, and what else was said meanwhile, in memory. A trigger has it
// write them into a file of their own, with what follows for a while; a trigger meanwhile is in that file already.
type Flight struct {
	*Files
	flight  FlightOptions
	memory  *ring
	window  window    // of what is being written
	until   time.Time // when the file is complete; zero while none is written
	dumps   int
	err     error  // of learning from what was forgotten
	written uint64 // packets, in files
	kept    uint64 // packets in memory
	dropped uint64 // packets that were forgotten
}

// inFlight is how many records are held back to sort them: what is said beside packets is not held back before, as they
// are.
const inFlight = 4 * inWindow

// NewFlight returns a recorder that has written nothing yet. Files are named as with -C; with -W the oldest is
// overwritten. It fails if none could be written: it may be days until something fires.
func NewFlight(o Options, flight FlightOptions, w *capture.Writer) (*Flight, error) {
	o.numbered = true
	return &Flight{Files: &Files{Writer: w, o: o}, flight: flight, memory: newRing(flight.Bytes)}, outfile.Writable("-w", o.Path)
}

// Forgotten is how many packets were neither written nor lost: their place was taken by newer ones, or nothing fired
// until the end.
func (f *Flight) Forgotten() uint64 { return f.dropped + f.kept }

// Written implements Sink. What died is not among them: it was a packet of its own before.
func (f *Flight) Written() uint64 { return f.written }

// Record implements decoder.Recorder: all is kept, for what is concluded rests on it.
func (f *Flight) Record(raw []byte, e decoder.Event) error {
	if body, ok := e.Body.(decoder.Fact); ok {
		if body == (decoder.Fact{}) {
			return f.look()
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
	return f.look()
}

// Packet keeps a packet, or writes it.
func (f *Flight) Packet(raw []byte, _ time.Time) error {
	if err := f.add(raw); err != nil {
		return err
	}
	if f.flight.Packets != nil && f.until.IsZero() && f.passes(raw) {
		f.flight.Trigger.Fire("a packet passed the expression")
	}
	return f.look()
}

func (f *Flight) passes(raw []byte) bool {
	p, err := decoder.DecodeFrame(raw)
	return err == nil && f.flight.Packets.Match(p)
}

// add puts a record into memory, or into the file that is being written.
func (f *Flight) add(raw []byte) error {
	if !f.until.IsZero() {
		f.window.insert(raw)
		return f.window.release(inFlight, f.write)
	}
	if decoder.IsPacket(raw) {
		f.kept++
	}
	f.memory.put(raw, f.forget)
	err := f.err
	f.err = nil
	return err
}

// forget learns from a record that goes: a file that begins now has to know what was said before.
func (f *Flight) forget(raw []byte) {
	if decoder.IsPacket(raw) {
		f.kept--
		f.dropped++
		return
	}
	if decoder.IsFact(raw) {
		f.err = f.Writer.RecordRaw(raw)
	}
}

// look begins a file if something fired, and ends it when its time has come.
func (f *Flight) look() error {
	if why := f.flight.Trigger.why.Swap(nil); why != nil && f.until.IsZero() {
		return f.dump(*why)
	}
	if !f.until.IsZero() && time.Now().After(f.until) {
		return f.land()
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
	if decoder.IsPacket(raw) {
		f.written++
	}
	if err := f.Writer.RecordRaw(raw); err != nil {
		return err
	}
	return f.flush(raw)
}

// land completes the file.
func (f *Flight) land() error {
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
// What was said last is learnt, so that Lost knows it.
func (f *Flight) Close() error {
	err := f.look()
	if err == nil && !f.until.IsZero() {
		err = f.land()
	}
	if f.file != nil { // it could not be written to its end
		err = errors.Join(err, f.finish())
	}
	for f.memory.count > 0 {
		if raw := f.memory.take(); !decoder.IsPacket(raw) {
			f.forget(raw)
		}
	}
	f.running.Wait()
	return err
}
