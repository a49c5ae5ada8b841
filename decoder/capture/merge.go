package capture

import (
	"context"
	"errors"
	"io"

	"ktrace/decoder"
)

// Merge is a decoder.Source over several, in order of time. What a number means, of a device, a reason, a function,
// each node knows for itself, so events are named before they are put among those of others.
type Merge struct {
	from  []decoder.Source
	names []*decoder.Names
	head  []decoder.Event // the next of each
	ended []bool
	given int // whose event was given out: it has to be replaced
}

// NewMerge returns the events of all.
func NewMerge(from ...decoder.Source) *Merge {
	m := &Merge{from: from, ended: make([]bool, len(from))}
	for range from {
		m.names = append(m.names, decoder.NewNames())
	}
	return m
}

// Next implements decoder.Source.
func (m *Merge) Next(ctx context.Context) (decoder.Event, error) {
	if m.head == nil {
		m.head = make([]decoder.Event, len(m.from))
		for i := range m.from {
			if err := m.fill(ctx, i); err != nil {
				return decoder.Event{}, err
			}
		}
	} else if err := m.fill(ctx, m.given); err != nil {
		return decoder.Event{}, err
	}
	first := -1
	for i := range m.head {
		if !m.ended[i] && (first < 0 || m.head[i].Time.Before(m.head[first].Time)) {
			first = i
		}
	}
	if first < 0 {
		return decoder.Event{}, io.EOF
	}
	m.given = first
	return m.head[first], nil
}

func (m *Merge) fill(ctx context.Context, i int) error {
	if m.ended[i] {
		return nil
	}
	e, err := m.from[i].Next(ctx)
	if errors.Is(err, io.EOF) {
		m.ended[i] = true
		return nil
	}
	if err == nil {
		m.head[i] = m.names[i].Observe(e)[0]
	}
	return err
}

// Counts implements decoder.Source: the sums.
func (m *Merge) Counts() decoder.Counts {
	var sum decoder.Counts
	for _, s := range m.from {
		c := s.Counts()
		sum.Seen += c.Seen
		sum.Filtered += c.Filtered
		sum.Lost.Ring += c.Lost.Ring
		sum.Lost.Map += c.Lost.Map
		sum.Lost.Userspace += c.Lost.Userspace
	}
	return sum
}

// Node implements decoder.Source: the first one's.
func (m *Merge) Node() decoder.Node { return m.from[0].Node() }
