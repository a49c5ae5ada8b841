// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"ktrace/decoder/event"
	"ktrace/tracer/boot"
)

// lossesMap is the name of the map, one for all objects, of the records that are lost: struct loss of event.h by kind.
const lossesMap = "losses"

// lossSize is that of struct loss: count, acked, first.
const (
	lossSize  = 24
	lossAcked = 8
	lossFirst = 16
)

// missedEvery is how often the kernel is asked whether programs did not run, which no record and no map shows.
const missedEvery = 100 * time.Millisecond

// losses reads since when records are lost, in memory that it shares with the kernel: without it, what the ring holds would
// be all that is known when it is read, and what is missing in it would be known too late.
type losses struct {
	memory  *ebpf.Memory
	buf     []byte
	read    time.Duration // since boot
	missed  uint64        // runs of programs
	counted time.Duration // when these were counted
}

func newLosses(m *ebpf.Map) (*losses, error) {
	memory, err := m.Memory()
	if err != nil {
		return nil, fmt.Errorf("losses: %w", err)
	}
	now := boot.Now()
	return &losses{memory: memory, buf: make([]byte, m.MaxEntries()*lossSize), counted: now}, nil
}

// until returns the losses up to a time, since boot, that are not reported yet; missed counts runs of programs that the kernel left
// out. Each reaches to the moment when it is read: while the ring is full everything is lost.
func (l *losses) until(t time.Duration, missed func() uint64) ([]event.Fact, error) {
	if t < l.read {
		return nil, nil
	}
	l.read = boot.Now()
	if _, err := l.memory.ReadAt(l.buf, 0); err != nil {
		return nil, fmt.Errorf("losses: %w", err)
	}
	var lost []event.Fact
	for kind := range len(l.buf) / lossSize {
		one := l.buf[kind*lossSize:]
		count, acked := binary.NativeEndian.Uint64(one), binary.NativeEndian.Uint64(one[lossAcked:])
		if count == acked {
			continue
		}
		first := time.Duration(binary.NativeEndian.Uint64(one[lossFirst:]))
		if _, err := l.memory.WriteAt(binary.NativeEndian.AppendUint64(nil, count), int64(kind*lossSize+lossAcked)); err != nil {
			return nil, fmt.Errorf("losses: %w", err)
		}
		lost = append(lost, event.Fact{Lost: &event.LostRecords{Kind: event.KindOfRecord(kind), Count: count - acked, From: first, To: l.read}})
	}
	if l.read-l.counted < missedEvery {
		return lost, nil
	}
	if n := missed(); n != l.missed {
		lost = append(lost, event.Fact{Lost: &event.LostRecords{Count: n - l.missed, From: l.counted, To: l.read}})
		l.missed = n
	}
	l.counted = l.read
	return lost, nil
}
