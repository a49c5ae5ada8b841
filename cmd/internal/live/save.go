// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/cmd/internal/savefile"
	"ktrace/decoder"
	"ktrace/decoder/capture"
	"ktrace/decoder/stage"
	"ktrace/tracer"
)

// Save is how the packets of a capture are saved.
type Save struct {
	Files savefile.Options // but for the path, which is -w
	Limit uint64           // packets; 0 is none
	// Flight keeps the packets in memory until something fires; nil writes them as they come.
	Flight *savefile.FlightOptions
}

// memory is how much the user asked to have packets kept in, bytes.
func (s *Save) memory() int64 {
	if s == nil || s.Flight == nil {
		return 0
	}
	return int64(s.Flight.Bytes)
}

// keeper writes what the stream sees, and packets beside it.
type keeper interface {
	decoder.Recorder
	savefile.Sink
	io.Closer
	Piped() bool
	Lost() uint64
}

// saver is a capture file in the making; nil if there is none.
type saver struct {
	files keeper
	drain *savefile.Drain // nil if the packets are shown too
	s     replay.Streams

	flight bool // packets are not written as they come
}

// saver opens the file of -w.
func (v View) saver(f flags.Flags, t *tracer.Tracer, stop func(), also *outputs, s replay.Streams) (*saver, error) {
	if f.Write == "" {
		return nil, nil
	}
	o := capture.Options{Version: flags.Build(), Comment: strings.Join(os.Args, " "), Mixed: f.Mixed, Old: f.Compat != ""}
	if v.Tap != nil {
		o.Snap, o.Whole = v.Tap.Snap, true
	}
	if v.Filter != nil {
		o.Filter = v.Filter.String()
	}
	to := savefile.Options{}
	if v.Save != nil {
		to = v.Save.Files
	}
	to.Path, to.Stdout, to.Stderr, to.Guard = f.Write, s.Out, s.Err, also.guard
	files, err := v.keeper(to, capture.NewWriter(o).With(stage.NewNames()))
	if err != nil {
		return nil, err
	}
	made := &saver{files: files, s: s, flight: v.Save != nil && v.Save.Flight != nil}
	if v.Save != nil {
		made.drain = &savefile.Drain{Ring: t, Files: files, Also: also.kept, Limit: v.Save.Limit, Stop: stop}
	}
	return made, nil
}

// keeper is a file, or a row of them, or what is kept until something fires.
func (v View) keeper(o savefile.Options, w *capture.Writer) (keeper, error) {
	if v.Save != nil && v.Save.Flight != nil {
		return savefile.NewFlight(o, *v.Save.Flight, w)
	}
	return savefile.Create(o, w, time.Now())
}

// drains reports whether packets go to the file only.
func (v *saver) drains() bool { return v != nil && v.drain != nil }

// notices are the enrichers, with the one that says what is lost. Of a capture that is only written that is counted at its end, as by
// tcpdump: nothing is concluded from it.
func (v *saver) notices(enrichers []decoder.Enricher, s replay.Streams) []decoder.Enricher {
	if v.drains() && !v.flight {
		return enrichers
	}
	return append(enrichers, &replay.LossNotice{Say: s.Say})
}

// frames is where the stream's records come from.
func (v *saver) frames(t *tracer.Tracer) decoder.Frames {
	if !v.drains() {
		return t
	}
	return v.drain
}

// streams is where the rest goes: nowhere if the file has it all, and standard error if the file is standard
// output.
func (v *saver) streams(s replay.Streams) replay.Streams {
	switch {
	case v == nil, v.flight: // the user waits for findings
	case v.drain != nil:
		s.Out = io.Discard
	case v.files.Piped():
		s.Out = s.Err
	}
	return s
}

// Close completes the file. It reports the packets as tcpdump does.
func (v *saver) Close() error {
	if v == nil {
		return nil
	}
	err := v.files.Close()
	if v.drain != nil {
		lost := v.files.Lost()
		fmt.Fprintf(v.s.Err, "%d packets captured\n%d packets received by filter\n%d packets dropped by kernel\n",
			v.files.Written(), v.drain.Taken()+lost, lost)
	}
	if f, ok := v.files.(*savefile.Flight); ok {
		fmt.Fprintf(v.s.Err, "%d packets not written: nothing fired in time\n", f.Evicted())
	}
	return err
}
