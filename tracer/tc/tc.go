// SPDX-License-Identifier: Apache-2.0

// Package tc attaches programs that watch a device's packets, and leaves the node's own programs as they are: they run as
// before, whatever they do with a packet, and in whatever order programs are attached.
//
//	netkit   a netkit device's own hook, with its owner's programs, which may redirect before tcx
//	tcx      kernel 6.6 and later: links, which end with this process
//	clsact   before: a filter of a qdisc, by netlink
//
// A program must be of type SCHED_CLS and return -1 (TC_ACT_UNSPEC, TCX_NEXT, NETKIT_NEXT), that is, leave the packet
// to the next. It is attached first, for a program that accepts a packet ends the chain; an agent that attaches later may
// come before it until the next Ensure.
package tc

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"ktrace/tracer/netns"
)

// Attach modes, best first.
const (
	Netkit = "netkit"
	TCX    = "tcx"
	Clsact = "clsact"
)

// Options say where to attach what.
type Options struct {
	Netns   *netns.Handle // the device's network namespace; nil is the caller's. Not used after Attach and Ensure
	Ifindex int           // of the device
	Ingress *ebpf.Program // for packets that the device receives; nil for none
	Egress  *ebpf.Program // for packets that it sends; nil for none
	Mode    string        // the only mode to try; "" takes the best
	// Undo is called with what removes the programs, where the kernel would keep them after this process, before the first is
	// attached; that may be called at any time, by any goroutine. Forget is called when nothing is left to remove. nil for none.
	Undo func(remove func()) (forget func())
}

// Attachment is what is attached to one device. The programs stay the caller's.
type Attachment struct {
	options Options
	mode    mode
}

// mode is programs attached in one of the modes.
type mode interface {
	name() string
	// ensure attaches what is not attached, or not first, and reports whether it once was.
	ensure() (again bool, err error)
	close() error
}

// Attach attaches to a device in the best mode that it takes. It needs CAP_NET_ADMIN in the device's namespace and,
// unless that is the caller's, CAP_SYS_ADMIN. If no mode works the error has each one's reason.
func Attach(o Options) (*Attachment, error) {
	a := &Attachment{options: o}
	err := a.inside(func() error {
		var refused []error
		for _, w := range []struct {
			name   string
			attach func(Options) (mode, error)
		}{{Netkit, attachNetkit}, {TCX, attachTCX}, {Clsact, attachClsact}} {
			if o.Mode != "" && o.Mode != w.name {
				continue
			}
			attached, err := w.attach(o)
			if err == nil {
				a.mode = attached
				return nil
			}
			refused = append(refused, fmt.Errorf("%s: %w", w.name, err))
		}
		return errors.Join(refused...)
	})
	if err != nil {
		return nil, fmt.Errorf("attach to device %d: %w", o.Ifindex, err)
	}
	if a.mode == nil {
		return nil, fmt.Errorf("attach to device %d: there is no mode %q", o.Ifindex, o.Mode)
	}
	return a, nil
}

// Mode is the mode that was taken.
func (a *Attachment) Mode() string { return a.mode.name() }

// Ensure attaches again what was removed since, as agents do when they set up their devices again, and what is no longer
// first. It reports whether it attached anything: if so, packets may have passed unseen. It returns an error if the device
// is gone.
func (a *Attachment) Ensure() (again bool, err error) {
	err = a.inside(func() (err error) {
		again, err = a.mode.ensure()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("attach to device %d again: %w", a.options.Ifindex, err)
	}
	return again, nil
}

// Close detaches the programs and leaves the device as it was. A device that is gone is no error.
func (a *Attachment) Close() error {
	if err := a.mode.close(); err != nil {
		return fmt.Errorf("detach from device %d: %w", a.options.Ifindex, err)
	}
	return nil
}

// inside runs f in the device's namespace: that is where an ifindex means something.
func (a *Attachment) inside(f func() error) error {
	if a.options.Netns == nil {
		return f()
	}
	return a.options.Netns.Do(f)
}
