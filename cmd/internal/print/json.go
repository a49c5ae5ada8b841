// SPDX-License-Identifier: Apache-2.0

package print

import (
	"bytes"
	"encoding/json"
	"io"

	"ktrace/decoder/event"
	"ktrace/decoder/printable"
)

// JSON writes one object a line.
type JSON struct {
	w   io.Writer
	buf bytes.Buffer
}

// NewJSON returns a printer of JSON lines on w.
func NewJSON(w io.Writer) *JSON { return &JSON{w: printable.NewJSON(w)} }

type jsonHead struct {
	V    int    `json:"v"`
	Type string `json:"type"`
}

// Event implements decoder.Printer.
func (j *JSON) Event(e event.Event) error {
	line, err := event.AppendJSON(nil, e)
	if err != nil {
		return err
	}
	j.buf.Write(append(line, '\n'))
	return j.flush()
}

// Finding implements decoder.Printer.
func (j *JSON) Finding(f event.Finding) error {
	return j.object(struct {
		jsonHead
		event.Finding
	}{jsonHead{event.Schema, "finding"}, f})
}

// Summary implements decoder.Printer.
func (j *JSON) Summary(s event.Summary) error {
	return j.object(struct {
		jsonHead
		event.Summary
	}{jsonHead{event.Schema, "summary"}, s})
}

// Close implements decoder.Printer.
func (j *JSON) Close() error { return nil }

func (j *JSON) object(v any) error {
	if err := j.encode(v); err != nil {
		return err
	}
	return j.flush()
}

func (j *JSON) encode(v any) error {
	enc := json.NewEncoder(&j.buf)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// flush hands over whole lines only.
func (j *JSON) flush() error {
	_, err := j.w.Write(j.buf.Bytes())
	j.buf.Reset()
	return err
}
