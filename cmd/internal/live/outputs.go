// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/outfile"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/tracer"
)

// outputs are the files of a live run.
type outputs struct {
	guard *outfile.Guard
	kept  *recording // --record
	saved *saver     // -w
}

// outputs opens the files of the flags. None may be one that the run reads, or another of them.
func (v View) outputs(ctx context.Context, f flags.Flags, t *tracer.Tracer, stop func(), s replay.Streams) (*outputs, error) {
	o := &outputs{guard: &outfile.Guard{Done: ctx.Done()}}
	o.guard.ReadsNamed("--btf", f.BTF)
	o.guard.ReadsNamed("--kubeconfig", f.Kubeconfig)
	err := replay.GuardStdout(o.guard, f.Write, s)
	if err == nil {
		o.kept, err = newRecording(f, o.guard)
	}
	if err == nil {
		o.saved, err = v.saver(f, t, stop, o, s)
	}
	if err != nil {
		return nil, errors.Join(err, o.kept.Close())
	}
	return o, nil
}

// Record implements decoder.Recorder. Each gets all records, whether or not the other is full.
func (o *outputs) Record(raw []byte, e event.Event) error {
	err := o.kept.Record(raw, e)
	if o.saved != nil {
		err = errors.Join(err, o.saved.files.Record(raw, e))
	}
	return err
}

// recorder writes the stream's records; nil if no flag wants that.
func (o *outputs) recorder() decoder.Recorder {
	if o.kept == nil && o.saved == nil {
		return nil
	}
	return o
}

// Close completes the files.
func (o *outputs) Close() error { return errors.Join(o.saved.Close(), o.kept.Close()) }
