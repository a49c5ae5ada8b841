package print

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"ktrace/decoder"
)

// schema is the version of the JSON lines.
const schema = 1

// JSON writes one object a line.
type JSON struct {
	w   io.Writer
	buf bytes.Buffer
}

// NewJSON returns a printer of JSON lines on w.
func NewJSON(w io.Writer) *JSON { return &JSON{w: w} }

type jsonHead struct {
	V    int    `json:"v"`
	Type string `json:"type"`
}

type jsonEvent struct {
	jsonHead
	Time      string            `json:"time"`
	Kind      decoder.Kind      `json:"kind"`
	Node      string            `json:"node,omitempty"`
	Pod       decoder.Pod       `json:"pod,omitzero"`
	Peer      decoder.Pod       `json:"peer,omitzero"`
	Process   jsonProcess       `json:"process,omitzero"`
	Netns     uint32            `json:"netns,omitempty"`
	Iface     string            `json:"iface,omitempty"`
	Direction decoder.Direction `json:"direction,omitempty"`
	Packet    *decoder.Packet   `json:"packet,omitempty"`
	Journey   uint64            `json:"journey,omitempty"`
}

type jsonProcess struct {
	PID  uint32 `json:"pid"`
	TID  uint32 `json:"tid"`
	Comm string `json:"comm"`
}

// Event implements decoder.Printer. Beside the fields that all share the object holds one named after the kind.
func (j *JSON) Event(e decoder.Event) error {
	kind := e.Body.Kind()
	head := jsonEvent{
		jsonHead:  jsonHead{schema, "event"},
		Time:      e.Time.UTC().Format(nanos),
		Kind:      kind,
		Node:      e.Node,
		Pod:       e.Pod,
		Peer:      e.Peer,
		Netns:     e.Netns,
		Iface:     e.Iface,
		Direction: e.Direction,
		Packet:    e.Packet,
		Journey:   e.Journey,
	}
	if e.PID != 0 {
		head.Process = jsonProcess{e.PID, e.TID, e.Comm}
	}
	if err := j.encode(head); err != nil {
		return err
	}
	j.buf.Truncate(j.buf.Len() - len("}\n")) // the body goes inside
	fmt.Fprintf(&j.buf, `,%q:`, kind)
	if err := j.encode(e.Body); err != nil {
		return err
	}
	j.buf.Truncate(j.buf.Len() - len("\n"))
	j.buf.WriteString("}\n")
	return j.flush()
}

// nanos is RFC 3339 with all nine digits, so that lines sort as text.
const nanos = "2006-01-02T15:04:05.000000000Z07:00"

// Finding implements decoder.Printer.
func (j *JSON) Finding(f decoder.Finding) error {
	return j.object(struct {
		jsonHead
		decoder.Finding
	}{jsonHead{schema, "finding"}, f})
}

// Summary implements decoder.Printer.
func (j *JSON) Summary(s decoder.Summary) error {
	return j.object(struct {
		jsonHead
		decoder.Summary
	}{jsonHead{schema, "summary"}, s})
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
