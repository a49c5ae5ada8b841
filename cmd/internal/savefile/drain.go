// SPDX-License-Identifier: Apache-2.0

package savefile

import (
	"context"
	"errors"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/event"
)

// Ring is where the packets come from.
type Ring interface {
	decoder.Frames
	Waiting() bool // there are more at once
}

// Sink is where they go.
type Sink interface {
	Packet(raw []byte, at time.Time) error
	Idle() error // nothing more is there at once
	Wall() time.Duration
	Written() uint64 // packets
}

// Drain passes on records but for packets, which go to the sink at once and in order of time: at full speed there is
// no time for anything else. It is a decoder.Frames.
type Drain struct {
	Ring  Ring
	Files Sink
	Also  decoder.Recorder // gets the packets too, as they come
	Limit uint64           // packets; 0 is none
	Stop  func()           // ends the run, once Limit packets, or Options.Files files, are written

	window window
	taken  uint64
	full   bool
}

// inWindow is how many packets are held back to sort them.
const inWindow = 64

// Next implements decoder.Frames.
func (d *Drain) Next(ctx context.Context) ([]byte, error) {
	for {
		raw, err := d.Ring.Next(ctx)
		if err != nil {
			return raw, errors.Join(d.window.release(0, d.write), err)
		}
		packet := event.IsPacket(raw)
		if packet {
			d.taken++
			d.window.insert(raw)
			if err := d.Also.Record(raw, event.Event{}); err != nil { // which is no reason to lose what is held
				return raw, errors.Join(err, d.window.release(0, d.write))
			}
		}
		if err := d.settle(); err != nil || !packet {
			return raw, err
		}
	}
}

// settle writes what no earlier packet can follow: all, if there is nothing more to read.
func (d *Drain) settle() error {
	if d.Ring.Waiting() {
		return d.window.release(inWindow, d.write)
	}
	if len(d.window.held) == 0 {
		return nil
	}
	if err := d.window.release(0, d.write); err != nil {
		return err
	}
	return d.Files.Idle()
}

// Taken is how many packets came, written or not.
func (d *Drain) Taken() uint64 { return d.taken }

func (d *Drain) write(raw []byte) error {
	if d.full {
		return nil
	}
	err := d.Files.Packet(raw, time.Unix(0, int64(event.RecordTime(raw)+d.Files.Wall())))
	if errors.Is(err, ErrEnough) || d.Limit > 0 && d.Files.Written() >= d.Limit {
		d.full = true
		d.Stop()
		return nil
	}
	return err
}
