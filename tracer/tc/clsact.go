// SPDX-License-Identifier: Apache-2.0

package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ktrace/tracer/netlink"
)

// From linux/pkt_sched.h and linux/pkt_cls.h.
const (
	handleClsact  = 0xffff0000
	parentClsact  = 0xfffffff1 // TC_H_CLSACT
	parentIngress = 0xfffffff2 // TC_H_CLSACT, TC_H_MIN_INGRESS
	parentEgress  = 0xfffffff3 // TC_H_CLSACT, TC_H_MIN_EGRESS

	bpfFD    = 6 // TCA_BPF_FD
	bpfName  = 7
	bpfFlags = 8
	bpfID    = 11
	bpfActs  = 1 // TCA_BPF_FLAG_ACT_DIRECT: the program's return value is the verdict
)

// ownHandles is the first of our filters' handles; the process's number is added. Agents ask for handle 1, or take the
// kernel's, which count from 1: with the same handle one would replace the other.
const ownHandles = 0x6b << 24

// What our filters are called; the second says to who finds it left behind that the qdisc was made for it.
const filterName, nameAndQdisc = "ktrace", "ktrace-qdisc"

// firstPreference is where Cilium and Calico are too. Filters of one preference run newest first.
const firstPreference, lastPreference = 1, 8

// clsact is programs attached as filters of a device's clsact qdisc (kernel 4.5). It is the only mode whose filters
// outlive a process that is killed.
type clsact struct {
	rt      *netlink.Conn // of the device's namespace
	ifindex int32
	added   bool // the qdisc is ours
	filters []*filter
	lock    sync.Mutex // of all of it: it may be closed by a goroutine of its own
	closed  bool
	forget  func() // what Options.Undo returned
}

// errClosed is returned once the programs were removed because the process ends.
var errClosed = errors.New("closed")

// filter is one direction.
type filter struct {
	program    *ebpf.Program
	id         uint32 // of the program
	parent     uint32
	handle     uint32
	preference uint16 // of the filter in the kernel, 0 if it was never attached

	there, first bool // when it was looked for last: still ours, and before those of others with its preference
}

func attachClsact(o Options) (mode, error) {
	rt, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	c := &clsact{rt: rt, ifindex: int32(o.Ifindex), forget: func() {}}
	for _, f := range []*filter{{program: o.Ingress, parent: parentIngress}, {program: o.Egress, parent: parentEgress}} {
		if f.program == nil {
			continue
		}
		info, err := f.program.Info()
		if err != nil {
			return nil, errors.Join(err, rt.Close())
		}
		id, _ := info.ID() // there since 4.13
		f.id, f.handle = uint32(id), ownHandles|uint32(os.Getpid())
		c.filters = append(c.filters, f)
	}
	if o.Undo != nil {
		c.forget = o.Undo(func() { _ = c.remove() }) // the process ends, and has nobody to report to
	}
	if _, err := c.ensure(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *clsact) name() string { return Clsact }

func (c *clsact) ensure() (again bool, err error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.closed {
		return false, errClosed
	}
	if err := c.look(); err != nil {
		return false, err
	}
	for _, f := range c.filters {
		if f.there && f.first {
			continue
		}
		again = again || f.preference != 0
		if f.there {
			if err := c.removeFilter(f); err != nil {
				return false, err
			}
		}
		if err := c.addQdisc(); err != nil {
			return false, err
		}
		if err := c.addFilter(f); err != nil {
			return false, err
		}
	}
	return again, nil
}

// addQdisc makes the qdisc unless there is one.
func (c *clsact) addQdisc() error {
	m := netlink.AppendString(c.message(handleClsact, parentClsact, 0), unix.TCA_KIND, Clsact)
	err := c.change(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m)
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case err != nil:
		return fmt.Errorf("add qdisc: %w", err)
	}
	c.added = true
	return nil
}

// addFilter takes the first preference that is free, or has filters of our kind.
func (c *clsact) addFilter(f *filter) error {
	name := filterName
	if c.added {
		name = nameAndQdisc
	}
	options := bpfOptions(f.program, name)
	var err error
	for p := uint16(firstPreference); p <= lastPreference; p++ {
		m := netlink.AppendAttr(c.bpfFilter(f.handle, f.parent, p), unix.TCA_OPTIONS, options)
		if err = c.change(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m); err == nil {
			f.preference = p
			return nil
		}
		if !errors.Is(err, unix.EINVAL) { // of another kind or protocol
			break
		}
	}
	return fmt.Errorf("add filter: %w", err)
}

// look looks for all our filters. If none is left the qdisc was removed with them, and one that is there now may be
// another's: Calico removes the qdisc and makes its own.
func (c *clsact) look() error {
	var went, left bool
	for _, f := range c.filters {
		if err := c.lookFor(f); err != nil {
			return err
		}
		left = left || f.there
		went = went || !f.there && f.preference != 0
	}
	c.added = c.added && (left || !went)
	return nil
}

// lookFor looks for one. Filters of one preference run newest first, so one that was added since may drop or accept packets
// before ours sees them.
func (c *clsact) lookFor(f *filter) error {
	f.there, f.first = false, true
	if f.preference == 0 {
		return nil
	}
	all, err := c.list(f.parent)
	if err != nil {
		return err
	}
	for _, m := range all {
		switch {
		case m.preference != f.preference:
		case m.handle == f.handle && m.program == f.id:
			f.there = true
			return nil
		case m.handle>>24 != ownHandles>>24: // another ktrace passes every packet on
			f.first = false
		}
	}
	return nil
}

// list returns the BPF filters at a parent, and those of other kinds with program 0.
func (c *clsact) list(parent uint32) ([]listed, error) {
	rows, err := c.rt.List(unix.RTM_GETTFILTER, c.message(0, parent, 0))
	if err != nil {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
			return nil, nil // no such qdisc, or device, any more
		}
		return nil, fmt.Errorf("list filters: %w", err)
	}
	var all []listed
	for _, r := range rows {
		if l, ok := parseListed(r); ok && l.ifindex == c.ifindex && l.parent == parent {
			all = append(all, l)
		}
	}
	return all, nil
}

func (c *clsact) close() error {
	defer c.forget()
	return c.remove()
}

// remove removes our filters and, if it is ours and without other filters, the qdisc. A filter that is added between the
// look and the removal is removed with it: the kernel has no conditional removal.
func (c *clsact) remove() error {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	errs := []error{c.look()}
	for _, f := range c.filters {
		if f.there {
			errs = append(errs, c.removeFilter(f))
		}
	}
	errs = append(errs, c.removeQdisc(), c.rt.Close())
	return errors.Join(errs...)
}

func (c *clsact) removeFilter(f *filter) error {
	if err := c.change(unix.RTM_DELTFILTER, 0, c.bpfFilter(f.handle, f.parent, f.preference)); err != nil {
		return fmt.Errorf("remove filter: %w", err)
	}
	return nil
}

func (c *clsact) removeQdisc() error {
	if !c.added {
		return nil
	}
	for _, parent := range []uint32{parentIngress, parentEgress} {
		others, err := c.list(parent)
		if err != nil || len(others) > 0 {
			return err
		}
	}
	err := c.change(unix.RTM_DELQDISC, 0, netlink.AppendString(c.message(handleClsact, parentClsact, 0), unix.TCA_KIND, Clsact))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil // already removed, or the device is gone
	}
	return err
}

// change sends a request, and returns the kernel's error.
func (c *clsact) change(kind, flags uint16, m []byte) error {
	return c.rt.Ask(kind, unix.NLM_F_ACK|flags, m, nil)
}

// bpfFilter is the beginning of a message about a BPF filter.
func (c *clsact) bpfFilter(handle, parent uint32, preference uint16) []byte {
	return netlink.AppendString(c.message(handle, parent, preference), unix.TCA_KIND, "bpf")
}

// bpfOptions are a BPF filter's own attributes.
func bpfOptions(p *ebpf.Program, name string) []byte {
	b := netlink.AppendUint32(nil, bpfFD, uint32(p.FD()))
	b = netlink.AppendString(b, bpfName, name)
	return netlink.AppendUint32(b, bpfFlags, bpfActs)
}

// message begins with struct tcmsg.
func (c *clsact) message(handle, parent uint32, preference uint16) []byte {
	b := make([]byte, 0, 128)
	b = binary.NativeEndian.AppendUint32(b, 0) // family, padding
	b = binary.NativeEndian.AppendUint32(b, uint32(c.ifindex))
	b = binary.NativeEndian.AppendUint32(b, handle)
	b = binary.NativeEndian.AppendUint32(b, parent)
	info := uint32(preference) << 16
	if preference != 0 {
		info |= uint32(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}))
	}
	return binary.NativeEndian.AppendUint32(b, info)
}
