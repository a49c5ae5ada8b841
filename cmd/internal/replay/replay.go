// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"ktrace/cmd/internal/flags"
	"ktrace/decoder"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/record"
	"ktrace/decoder/stage"
)

// Replay runs a view over recordings and captures, in order of time. The view is made anew for each run and node that
// they are of: what it knows is of that one.
func Replay(ctx context.Context, f flags.Flags, view func() (View, error), s Streams, files ...capture.File) error {
	v, err := view()
	if err != nil {
		return err
	}
	selector, err := Selector(f)
	if err != nil {
		return err
	}
	nodes := decoder.Nodes{Printer: Printer(f, v.Quiet, len(files) > 1, s.Out), Count: f.Count, Hold: v.Hold}
	for _, file := range files {
		stream, err := v.recorded(file, s)
		if err != nil {
			return flags.WithCaret(err)
		}
		nodes.Add(file.Name, stream)
	}
	nodes.Pipeline = func() (*decoder.Pipeline, error) {
		v, err := view()
		if !slices.Contains(v.Kinds, event.KindFrame) {
			v.Early = append(v.Early, stage.NewJourneys())
		}
		return v.Pipeline(f, selector), err
	}
	if err := nodes.Run(ctx); err != nil {
		return flags.WithCaret(err)
	}
	return f.Judge(nodes.Findings())
}

// recorded is the stream of a file, a recording of ktrace or a capture of another program's. What has a link header is filtered
// by it if the expression wants that, all else by the sieve.
func (v View) recorded(file capture.File, s Streams) (stream *decoder.Stream, err error) {
	b, err := unzipped(file)
	if err != nil {
		return nil, err
	}
	o := capture.ReaderOptions{Packets: slices.Contains(v.Kinds, event.KindFrame)}
	var link error
	if v.Filter != nil {
		link = v.Filter.NeedsLink()
	}
	stream = &decoder.Stream{Enrichers: []decoder.Enricher{&LossNotice{Say: s.Say}}}
	if o.Packets || link != nil {
		o.Filter = v.Filter
	} else if stream.Filter, err = v.Sift(); err != nil {
		return nil, err
	}
	if head, _ := b.Peek(len(record.Magic)); string(head) != record.Magic {
		stream.Frames, stream.Partial = &readFile{capture.NewReader(b, o), file.Name, s}, true
		return stream, nil
	}
	if link != nil {
		return nil, link
	}
	frames, err := record.NewReader(b)
	stream.Frames = &readFile{frames, file.Name, s}
	return stream, err
}

// unzipped is what a file holds, in gzip or not.
func unzipped(file capture.File) (*bufio.Reader, error) {
	b := bufio.NewReader(file)
	if head, _ := b.Peek(2); string(head) != "\x1f\x8b" {
		return b, nil
	}
	packed, err := gzip.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("%s: gzip: %w", file.Name, err)
	}
	return bufio.NewReader(packed), nil
}

// readFile is a file by its name. One that is cut short, as when who wrote it was killed, ends there.
type readFile struct {
	decoder.Frames
	name string
	s    Streams
}

// Next implements decoder.Frames.
func (f *readFile) Next(ctx context.Context) ([]byte, error) {
	raw, err := f.Frames.Next(ctx)
	switch {
	case err == nil, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return raw, err
	case errors.Is(err, record.ErrCut), errors.Is(err, pcapng.ErrCut):
		f.s.WarnCut(fmt.Errorf("%s: %w", f.name, err))
		return nil, io.EOF
	}
	return nil, fmt.Errorf("%s: %w", f.name, err)
}

// WarnCut warns that a file ends too soon, and by how much.
func (s Streams) WarnCut(err error) {
	s.Say(fmt.Sprintf("warning: %v; all that is before was read", err))
}
