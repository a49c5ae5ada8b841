// SPDX-License-Identifier: Apache-2.0

// Package tap takes whole packets at devices, as they come and go.
package tap

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"ktrace/decoder/event"
	"ktrace/tracer/netns"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
	"ktrace/tracer/tc"
)

const (
	newNetnsAge = 10 * time.Second       // a new namespace gets its devices within it
	fastResync  = 100 * time.Millisecond // between looks for devices of new namespaces
	slowResync  = time.Second            // of others
)

// Options say where packets are taken, and how much of them.
type Options struct {
	Snap    uint32   // bytes of a packet
	Devices []string // names or patterns of devices; none: all but loopback; "any": all
	Variant string   // tcx, netkit or clsact; "" takes what works
	// Netns returns the network namespaces whose devices are watched. They must stay open while they are returned.
	Netns  func() []*netns.Handle
	Others []*netns.Handle                     // where else peers of devices may be
	Node   *procfs.FS                          // whose processes may be other captures
	Say    func(string)                        // prints to the user, beside the output
	Undo   func(remove func()) (forget func()) // see tc.Options
}

// Tap takes whole packets at devices, as they come and go. It is of one goroutine.
type Tap struct {
	opts     Options
	in, out  *ebpf.Program
	lost     *ebpf.Map
	tapped   map[uint32]*tappedNetns
	closed   bool
	attached int // devices, ever
}

// tappedNetns is a namespace whose devices are watched.
type tappedNetns struct {
	since, looked time.Time
	devices       map[uint32]*tappedDevice
}

type tappedDevice struct {
	event.Device
	at *tc.Attachment // nil if it could not be attached to, or is not any more
}

// detach ends the capture at the device. One that is gone is no error.
func (d *tappedDevice) detach() error {
	if d.at == nil {
		return nil
	}
	err := d.at.Close()
	d.at = nil
	return err
}

// New returns a tap that is not attached yet.
func New(o Options) *Tap { return &Tap{opts: o, tapped: map[uint32]*tappedNetns{}} }

// Globals are the values of the object's variables.
func (t *Tap) Globals() probe.Globals { return probe.TapGlobals{Snap: t.opts.Snap} }

// Prepare keeps the map of losses by device.
func (t *Tap) Prepare(m probe.Maps) error {
	t.lost = m(probe.Tap, probe.TapLost)
	return nil
}

// Attach is for Options.Attach. The devices are attached to by the first Sync.
func (t *Tap) Attach(find probe.Programs) (io.Closer, error) {
	t.in, t.out = find(probe.Tap, probe.TapIn), find(probe.Tap, probe.TapOut)
	return t, nil
}

// Begin attaches to the devices that are there. That there are none is an error only if they were named: pods may
// come.
func (t *Tap) Begin() ([]event.Fact, error) {
	facts, err := t.sync(time.Now())
	if err == nil && t.attached == 0 && len(t.opts.Devices) > 0 {
		err = fmt.Errorf("no device matches %v in the chosen namespaces; \"ip -brief link\" lists them", t.opts.Devices)
	}
	return facts, err
}

// Enrich implements decoder.Enricher: it looks for new devices as time goes by.
func (t *Tap) Enrich(event.Event) []event.Fact {
	if t.closed {
		return nil
	}
	facts, err := t.sync(time.Now())
	if err != nil {
		t.opts.Say(err.Error())
	}
	return facts
}

// Poll reports what was lost at each device.
func (t *Tap) Poll(probe.Maps) ([]event.Fact, error) {
	var (
		facts []event.Fact
		key   uint64
		lost  uint64
	)
	all := t.lost.Iterate()
	for all.Next(&key, &lost) {
		d := t.device(uint32(key>>32), uint32(key))
		if d == nil || d.Lost == lost {
			continue
		}
		d.Lost = lost
		facts = append(facts, deviceFact(d.Device))
	}
	return facts, all.Err()
}

func (t *Tap) device(inode, ifindex uint32) *tappedDevice {
	if s := t.tapped[inode]; s != nil {
		return s.devices[ifindex]
	}
	return nil
}

func deviceFact(d event.Device) event.Fact { return event.Fact{Device: &d} }

// sync attaches to new devices and detaches from those that are gone. It continues after an error at one device.
func (t *Tap) sync(now time.Time) ([]event.Fact, error) {
	var (
		facts []event.Fact
		errs  []error
		there = map[uint32]bool{}
	)
	for _, handle := range t.opts.Netns() {
		there[handle.Inode] = true
		s := t.tapped[handle.Inode]
		if s == nil {
			s = &tappedNetns{since: now, devices: map[uint32]*tappedDevice{}}
			t.tapped[handle.Inode] = s
			Sweep(t.opts.Node, handle, t.opts.Say)
		}
		if !s.due(now) {
			continue
		}
		s.looked = now
		more, err := t.look(handle, s)
		facts, errs = append(facts, more...), append(errs, err)
	}
	for inode, s := range t.tapped {
		if !there[inode] {
			for _, d := range s.devices {
				_ = d.detach() // the devices went with their namespace
			}
			delete(t.tapped, inode)
		}
	}
	return facts, errors.Join(errs...)
}

func (s *tappedNetns) due(now time.Time) bool {
	every := slowResync
	if now.Sub(s.since) < newNetnsAge {
		every = fastResync
	}
	return now.Sub(s.looked) >= every
}

// look compares a namespace's devices with those that were there.
func (t *Tap) look(handle *netns.Handle, s *tappedNetns) ([]event.Fact, error) {
	devices, err := handle.Devices(t.opts.Others...)
	if err != nil {
		return nil, err
	}
	var facts []event.Fact
	var errs []error
	there := map[uint32]bool{}
	for _, d := range devices {
		if !t.wanted(d.Name) {
			continue
		}
		there[d.Ifindex] = true
		if old := s.devices[d.Ifindex]; old != nil && old.Name == d.Name {
			errs = append(errs, t.ensure(old))
			continue
		}
		at, err := t.attach(handle, d)
		errs = append(errs, err)
		s.devices[d.Ifindex] = &tappedDevice{Device: d, at: at}
		t.attached++
		facts = append(facts, deviceFact(d))
	}
	for index, d := range s.devices {
		if !there[index] {
			_ = d.detach() // the kernel did, with the device
			delete(s.devices, index)
			d.Gone = true
			facts = append(facts, deviceFact(d.Device))
		}
	}
	slices.SortFunc(facts, func(a, b event.Fact) int { return cmp.Compare(a.Device.Ifindex, b.Device.Ifindex) })
	return facts, errors.Join(errs...)
}

// ensure looks whether the programs are still at a device, before those of others: agents set their devices up anew.
func (t *Tap) ensure(d *tappedDevice) error {
	if d.at == nil {
		return nil
	}
	again, err := d.at.Ensure()
	if again {
		t.opts.Say(fmt.Sprintf("%s: the TC program was removed, or another was attached in front of it; re-attached: packets of the last second may be missing", d.Name))
	}
	return err
}

// wanted reports whether a device is one that the user chose.
func (t *Tap) wanted(name string) bool {
	if len(t.opts.Devices) == 0 {
		return name != "lo"
	}
	return slices.ContainsFunc(t.opts.Devices, func(p string) bool {
		ok, err := path.Match(p, name)
		return p == "any" || p == name || ok && err == nil
	})
}

// attach runs both programs at a device, or none.
func (t *Tap) attach(handle *netns.Handle, d event.Device) (*tc.Attachment, error) {
	a, err := tc.Attach(tc.Options{Netns: handle, Ifindex: int(d.Ifindex), Ingress: t.in, Egress: t.out, Mode: t.opts.Variant, Undo: t.opts.Undo})
	if err != nil {
		return nil, fmt.Errorf("capture at %s in network namespace %d: %w", d.Name, handle.Inode, err)
	}
	return a, nil
}

// Close detaches from all devices.
func (t *Tap) Close() error {
	t.closed = true
	var errs []error
	for _, s := range t.tapped {
		for _, d := range s.devices {
			errs = append(errs, d.detach())
		}
	}
	return errors.Join(errs...)
}
