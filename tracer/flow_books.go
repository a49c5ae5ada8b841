// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"ktrace/bpf"
	"ktrace/decoder/event"
	"ktrace/tracer/probe"
)

// flowBooks are those of the flow object, nil if it is not loaded. Once everything is detached, the open connections are counted,
// so that what the programs counted can be checked; before, they are what is left.
func (t *Tracer) flowBooks() (*event.FlowBooks, error) {
	books := t.Map(probe.Flow, probe.FlowBooks)
	if books == nil {
		return nil, nil
	}
	var perCPU []bpf.FlowBooks
	if err := books.Lookup(uint32(0), &perCPU); err != nil {
		return nil, fmt.Errorf("books of connections: %w", err)
	}
	var b event.FlowBooks
	for _, k := range perCPU {
		b.Begun += k.Begun
		b.Found += k.Found
		b.Ended += k.Ended
		b.Evicted += k.Evicted
		b.Unseen += k.Unseen
	}
	b.Open = b.Begun + b.Found - b.Ended - b.Evicted
	if !t.stopped {
		return &b, nil
	}
	open, err := entries(t.Map(probe.Flow, probe.Connections))
	b.Open = open
	return &b, err
}

// entries counts the connections that are followed, by batches (5.6).
func entries(m *ebpf.Map) (n uint64, err error) {
	const batch = 4096
	keys, values := make([]uint64, batch), make([]bpf.FlowFlow, batch)
	var at ebpf.MapBatchCursor
	for {
		count, err := m.BatchLookup(&at, keys, values, nil)
		n += uint64(count)
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return n, nil
		case err != nil:
			return n, fmt.Errorf("entries of %v: %w", m, err)
		}
	}
}
