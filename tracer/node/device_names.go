// SPDX-License-Identifier: Apache-2.0

package node

import (
	"maps"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/tracer/netns"
)

// DeviceNames is the decoder.Enricher that names the devices which events refer to, of whatever namespace.
type DeviceNames struct {
	finder *netns.Finder
	known  map[event.LookupKey]bool // of a question only namespace and device
	missed map[event.LookupKey]time.Time
}

// missedAgain is how soon a device that was not found is looked for again, by the events' clock.
const missedAgain = time.Second

// maxDevices is how many are remembered, fewer than stage.Names does: all are emitted again before it forgets them.
const maxDevices = bounded.MapSize / 4

// NewDeviceNames returns one of the namespaces that a Finder finds.
func NewDeviceNames(finder *netns.Finder) *DeviceNames {
	return &DeviceNames{finder: finder, known: map[event.LookupKey]bool{}, missed: map[event.LookupKey]time.Time{}}
}

// Enrich implements decoder.Enricher. With the first event of a namespace it returns all its devices.
func (d *DeviceNames) Enrich(e event.Event) []event.Fact {
	if f, ok := e.Body.(event.Fact); ok {
		d.learn(f)
		return nil
	}
	q := event.LookupKey{Netns: e.Netns, Ifindex: e.Ifindex}
	if e.Netns == 0 || e.Ifindex == 0 || d.known[q] || e.Time.Sub(d.missed[q]) < missedAgain {
		return nil
	}
	if len(d.known)+len(d.missed) >= maxDevices {
		clear(d.known)
		clear(d.missed)
	}
	d.missed[q] = e.Time // no error: a device without a name keeps its number
	handle, err := d.finder.Open(e.Netns)
	if err != nil {
		return nil
	}
	defer handle.Close()
	devices, err := handle.Devices()
	if err != nil {
		return nil
	}
	var facts []event.Fact
	for _, device := range devices {
		q := event.LookupKey{Netns: device.Netns, Ifindex: device.Ifindex}
		if !d.known[q] {
			d.known[q] = true
			facts = append(facts, event.Fact{Device: &device})
		}
	}
	return facts
}

// learn forgets the devices of a namespace that was replaced by another.
func (d *DeviceNames) learn(f event.Fact) {
	d.finder.Learn(f)
	if inode, ok := f.ReplacedNetns(); ok {
		maps.DeleteFunc(d.known, func(q event.LookupKey, _ bool) bool { return q.Netns == inode })
		maps.DeleteFunc(d.missed, func(q event.LookupKey, _ time.Time) bool { return q.Netns == inode })
	}
}
