// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"ktrace/decoder/printable"
	"ktrace/decoder/wire"
)

var (
	// ErrShort is returned for a record that ends before its header or its own claim of size does.
	ErrShort = errors.New("record is cut short")
	// ErrKind is returned for a record of a kind that this version does not know.
	ErrKind = errors.New("unknown kind of record")
)

// hdrSize is the size of struct hdr, bytes.
var hdrSize = (*wire.Header)(nil).RecordSize()

// Decode turns one raw record, as the ring or a recording delivers it, into an event. It never panics and
// keeps no part of raw. Errors wrap ErrShort and ErrKind.
func Decode(raw []byte) (Event, error) {
	var e Event
	if err := DecodeInto(&e, raw); err != nil {
		return Event{}, err
	}
	return e, nil
}

// DecodeInto is Decode into memory that is there. Of an event that cannot be decoded it leaves what it got.
func DecodeInto(e *Event, raw []byte) error {
	if len(raw) < hdrSize {
		return fmt.Errorf("%w: %d bytes", ErrShort, len(raw))
	}
	var h wire.Header
	h.Decode(raw)
	if int(h.Size) > len(raw) || int(h.Size) < hdrSize {
		return fmt.Errorf("%w: %d bytes, claims %d", ErrShort, len(raw), h.Size)
	}
	*e = Event{} // filled field by field: a literal is built beside it and copied
	e.Time, e.CPU = time.Unix(0, int64(h.Time)).UTC(), h.Cpu
	e.PID, e.TID, e.Cgroup = h.Pid, h.Tid, h.Cgroup
	e.Netns, e.Ifindex, e.Journey = h.Netns, h.Ifindex, h.Journey
	if h.Pid != 0 {
		e.Comm = cString(h.Comm[:])
	}
	row := rowOf(wire.Kind(h.Kind))
	if row.decode == nil {
		return fmt.Errorf("%w: %d", ErrKind, h.Kind)
	}
	return row.decode(raw[:h.Size], e)
}

// cString is the text up to the first NUL, or all of it, as UTF-8.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return printable.Valid(string(b))
}
