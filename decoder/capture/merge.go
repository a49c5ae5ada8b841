package capture

import (
	"context"
	"errors"
	"io"

	"ktrace/decoder"
)

// Merge is a decoder.Frames over several, in order of time. Their times must be absolute.
type Merge struct {
	from  []decoder.Frames
	head  [][]byte // the next record of each, nil at its end
	given int      // whose record was given out: it has to be replaced
}

// NewMerge returns the frames of all.
func NewMerge(from ...decoder.Frames) *Merge { return &Merge{from: from} }

// Next implements decoder.Frames.
func (m *Merge) Next(ctx context.Context) ([]byte, error) {
	if m.head == nil {
		m.head = make([][]byte, len(m.from))
		for i := range m.from {
			if err := m.fill(ctx, i); err != nil {
				return nil, err
			}
		}
	} else if err := m.fill(ctx, m.given); err != nil {
		return nil, err
	}
	first := -1
	for i, raw := range m.head {
		if raw != nil && (first < 0 || decoder.RecordTime(raw) < decoder.RecordTime(m.head[first])) {
			first = i
		}
	}
	if first < 0 {
		return nil, io.EOF
	}
	m.given = first
	return m.head[first], nil
}

func (m *Merge) fill(ctx context.Context, i int) error {
	raw, err := m.from[i].Next(ctx)
	if errors.Is(err, io.EOF) {
		raw, err = nil, nil
	}
	m.head[i] = raw
	return err
}
