// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"

	"ktrace/decoder/event"
	"ktrace/tracer/netns"
)

// Devices reads the devices of a namespace with their addresses of now, and in which namespace the other ends of its
// veths are.
func (o *Reader) Devices(inode uint32) []event.Fact {
	devices, err := o.devices(inode)
	if err != nil {
		return unread(inode, "devices", err)
	}
	facts := make([]event.Fact, 0, len(devices))
	for i := range devices {
		facts = append(facts, event.Fact{Device: &devices[i]})
	}
	return facts
}

func (o *Reader) devices(inode uint32) (devices []event.Device, err error) {
	n, err := o.open(inode)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	var others []*netns.Handle
	for _, other := range o.all() {
		if s, err := o.finder.Open(other); err == nil {
			defer s.Close()
			others = append(others, s)
		}
	}
	return n.Devices(others...)
}

// atFarEnd returns the devices of a packet's namespace, and the packet's route in the namespace at the other end of its
// veth: a received packet was sent from there, one that could not leave would arrive there.
func (w *Enricher) atFarEnd(e event.Event, arrives bool) []event.Fact {
	facts := w.reader.Devices(e.Netns)
	if e.Packet == nil {
		return facts
	}
	for _, f := range facts {
		d := f.Device
		if d == nil || d.Ifindex != e.Ifindex || d.PeerNetns == 0 {
			continue
		}
		var in uint32
		if arrives {
			in = d.PeerIndex
			facts = append(facts, w.reader.Devices(d.PeerNetns)...)
		}
		return append(facts, w.reader.Routes(event.KeyOf(e).At(d.PeerNetns, d.PeerIndex), in)...)
	}
	return facts
}
