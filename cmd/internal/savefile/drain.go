package savefile

import (
	"context"
	"errors"
	"io"
	"time"

	"ktrace/decoder"
)

// Ring is where the packets come from.
type Ring interface {
	decoder.Frames
	Waiting() bool // there are more at once
}

// Drain passes on records but for packets, which go to the files at once and in order of time: at full speed there is
// no time for anything else. It is a decoder.Frames.
type Drain struct {
	Ring  Ring
	Files *Files
	Limit uint64 // packets; 0 is none
	Stop  func() // ends the run, once as many packets or files as were asked for are written

	window [][]byte // by time
	free   [][]byte
	taken  uint64
	full   bool
}

// inWindow is how many packets are held back to sort them. Two CPUs that reserve room in the ring one after the other
// may look at the clock the other way round.
const inWindow = 64

// Next implements decoder.Frames.
func (d *Drain) Next(ctx context.Context) ([]byte, error) {
	for {
		raw, err := d.Ring.Next(ctx)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.Join(d.release(0), err)
			}
			return raw, err
		}
		if !decoder.IsPacket(raw) {
			return raw, d.release(inWindow)
		}
		d.insert(raw)
		keep := inWindow
		if !d.Ring.Waiting() {
			keep = 0
		}
		if err := d.release(keep); err != nil {
			return nil, err
		}
		if keep == 0 {
			if err := d.Files.Idle(); err != nil {
				return nil, err
			}
		}
	}
}

// Taken is how many packets came, written or not.
func (d *Drain) Taken() uint64 { return d.taken }

func (d *Drain) insert(raw []byte) {
	d.taken++
	var slot []byte
	if n := len(d.free); n > 0 {
		slot, d.free = d.free[n-1], d.free[:n-1]
	}
	slot = append(slot[:0], raw...)
	i := len(d.window)
	d.window = append(d.window, slot)
	for t := decoder.RecordTime(slot); i > 0 && decoder.RecordTime(d.window[i-1]) > t; i-- {
		d.window[i], d.window[i-1] = d.window[i-1], d.window[i]
	}
}

// release writes the oldest packets until only keep are held.
func (d *Drain) release(keep int) error {
	n := len(d.window) - keep
	if n <= 0 {
		return nil
	}
	for _, raw := range d.window[:n] {
		if err := d.write(raw); err != nil {
			return err
		}
	}
	d.free = append(d.free, d.window[:n]...)
	d.window = append(d.window[:0], d.window[n:]...)
	return nil
}

func (d *Drain) write(raw []byte) error {
	if d.full {
		return nil
	}
	err := d.Files.Packet(raw, time.Unix(0, int64(decoder.RecordTime(raw)+d.Files.Wall())))
	if errors.Is(err, ErrEnough) || d.Limit > 0 && d.Files.Packets >= d.Limit {
		d.full = true
		d.Stop()
		return nil
	}
	return err
}
