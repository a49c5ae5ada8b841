// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"

	"github.com/cilium/ebpf"

	"ktrace/decoder/event"
)

// Maps finds a map of the loaded objects: probe and name. It returns nil if there is none.
type Maps func(probe, name string) *ebpf.Map

// Programs finds a loaded program that is attached to devices: probe and name. It returns nil if there is none.
type Programs func(probe, name string) *ebpf.Program

// CountsMap is the name of every object's map of counters: records seen, filtered and lost, by kind.
const CountsMap = "counters"

// kernelCounts is struct counters of event.h.
type kernelCounts struct {
	Seen, Filtered, LostRing, LostMap uint64
}

// KindCounts adds up the counters of one kind of record over all CPUs. m is the object's CountsMap.
func KindCounts(m *ebpf.Map, kind uint32) (event.Counts, error) {
	var c event.Counts
	var perCPU []kernelCounts
	if err := m.Lookup(kind, &perCPU); err != nil {
		return c, fmt.Errorf("counts: %w", err)
	}
	for _, k := range perCPU {
		c.Seen += k.Seen
		c.Filtered += k.Filtered
		c.Lost.Ring += k.LostRing
		c.Lost.Map += k.LostMap
	}
	return c, nil
}
