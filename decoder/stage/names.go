// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"fmt"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// Names is the stage that gives devices, reasons and places in the kernel their names, from the facts that
// the stream brought before. What is not known keeps its number.
type Names struct {
	devices bounded.Weighed[deviceKey, event.Device]
	symbols bounded.Weighed[uint64, string]
	reasons map[uint32]string
	resets  map[uint32]string
	only    event.Single
}

type deviceKey struct{ netns, ifindex uint32 }

// NewNames returns the stage; it belongs before all that say a name.
func NewNames() *Names {
	return &Names{}
}

// Observe implements Stage.
func (n *Names) Observe(e event.Event) []event.Event {
	if f, ok := e.Body.(event.Fact); ok {
		n.learn(f)
		return n.only.Event(e)
	}
	if d, ok := n.devices.Get(deviceKey{e.Netns, e.Ifindex}); ok && e.Iface == "" {
		e.Iface = d.Name
	}
	switch b := e.Body.(type) {
	case event.Drop:
		e.Body = n.drop(b)
	case event.Sock:
		if b.HasReasonCode {
			b.Reason, b.HasReasonCode = nameOf(n.resets, b.ReasonCode), false
		}
		e.Body = b
	}
	return n.only.Event(e)
}

// Flush implements Stage.
func (n *Names) Flush(time.Time, bool) []event.Event { return nil }

func (n *Names) learn(f event.Fact) {
	if inode, ok := f.ReplacedNetns(); ok {
		n.devices.DeleteFunc(func(k deviceKey) bool { return k.netns == inode })
	}
	switch {
	case f.Node != nil:
		n.reasons, n.resets = f.Node.Reasons, f.Node.Resets
	case f.Device != nil:
		k := deviceKey{f.Device.Netns, f.Device.Ifindex}
		if f.Device.Gone {
			n.devices.Delete(k)
			return
		}
		n.devices.Put(bounded.Owner{Netns: f.Device.Netns}, k, *f.Device)
	case f.Symbol != nil:
		n.symbols.Put(bounded.Owner{}, f.Symbol.Address, f.Symbol.Name)
	}
}

func (n *Names) drop(d event.Drop) event.Drop {
	if d.Named {
		return d
	}
	d.Named = true
	if len(n.reasons) == 0 {
		d.Reason = event.ReasonNotReported
	} else if name, ok := n.reasons[d.Code]; ok {
		d.Reason = name
	}
	if name, ok := n.symbols.Get(d.Address); ok {
		// A function that the compiler has specialised or cut up has .constprop.0, .isra.0 or .part.0 behind its name.
		d.Location, _, _ = strings.Cut(name, ".")
	}
	return d
}

// nameOf is the name of a number, or the number itself.
func nameOf(names map[uint32]string, n uint32) string {
	if name, ok := names[n]; ok {
		return name
	}
	return fmt.Sprintf("unknown(%#x)", n)
}
