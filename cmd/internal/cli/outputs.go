package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"ktrace/cmd/internal/outfile"
	"ktrace/decoder"
	"ktrace/tracer"
)

// outputs are the files of a live run.
type outputs struct {
	guard *outfile.Guard
	kept  *recording // --record
	saved *saver     // -w
}

// outputs opens the files that the flags ask for. None may be one that the run reads, or another of them.
func (v View) outputs(f Flags, t *tracer.Tracer, stop func(), s Streams) (*outputs, error) {
	o := &outputs{guard: &outfile.Guard{}}
	o.guard.ReadsNamed("--btf", f.BTF)
	o.guard.ReadsNamed("--kubeconfig", f.Kubeconfig)
	err := GuardStdout(o.guard, f.Write, s)
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

// Record implements decoder.Recorder. Each gets all records, be the other full or not.
func (o *outputs) Record(raw []byte, e decoder.Event) error {
	err := o.kept.Record(raw, e)
	if o.saved != nil {
		err = errors.Join(err, o.saved.files.Record(raw, e))
	}
	return err
}

// recorder writes what the stream sees; nil if that is not asked for.
func (o *outputs) recorder() decoder.Recorder {
	if o.kept == nil && o.saved == nil {
		return nil
	}
	return o
}

// Close completes the files.
func (o *outputs) Close() error { return errors.Join(o.saved.Close(), o.kept.Close()) }

// GuardStdout has a guard know standard output, by what is written there.
func GuardStdout(guard *outfile.Guard, write string, s Streams) error {
	out, ok := s.Out.(*os.File)
	if !ok {
		return nil
	}
	what := "standard output"
	if write == "-" {
		what = "-w -"
	}
	return guard.Writes(what, out)
}

// LaterFile refuses an output that has the name of a file that -C, -G or --ring begins later: that is refused then too,
// but by then the run would be over.
func (f *Flags) LaterFile() error {
	for _, o := range []struct{ flag, name string }{{"--record", f.Record}, {"--ready-file", f.ReadyFile}} {
		number, ok := strings.CutPrefix(filepath.Clean(o.name), filepath.Clean(f.Write))
		if ok && strings.Trim(number, "0123456789") == "" {
			return Usagef("%s %s: -w %s begins files of such names; name another", o.flag, o.name, f.Write)
		}
	}
	return nil
}
