// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/cilium/ebpf"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder/event"
	"ktrace/tracer"
	"ktrace/tracer/filterjit"
	"ktrace/tracer/probe"
)

// sift is replay.View.Sift; whole packets are filtered by their source.
func (v View) sift() (func(event.Event) bool, error) {
	if v.Tap != nil {
		return nil, nil
	}
	return v.Sift()
}

// snapLeast is how many bytes of a packet the path object takes at least, where there is an expression: the headers, so
// that a recording has what the expression reads.
const snapLeast = 128

// globals are the values of all objects' variables.
func (v View) globals() []probe.Globals {
	if v.Path == nil {
		return v.Globals
	}
	path := *v.Path
	if v.Filter != nil {
		path.Snap = max(path.Snap, snapLeast)
	}
	return append(slices.Clone(v.Globals), path)
}

// attachGarbage is how much garbage, in percent of what is in use, is left to lie while a run loads and attaches: most of
// what that allocates is needed once. With 800 diagnose takes 6 MiB more at its peak, and no less CPU that could be measured.
const attachGarbage = 300

// open loads and attaches. An expression that the kernel does not take is left to user space where events are sifted
// anyway.
func (v View) open(o tracer.Options, s replay.Streams) (*tracer.Tracer, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(attachGarbage))
	if v.Filter == nil {
		return tracer.Open(o)
	}
	o.Splice = func(spec *ebpf.CollectionSpec) error {
		if v.Tap != nil && !filterjit.Takes(spec, filterjit.FrameStub) {
			return nil // it is about what to capture, not about what to conclude from
		}
		_, err := filterjit.Splice(spec, v.Filter)
		return err
	}
	t, err := tracer.Open(o)
	var refused *ebpf.VerifierError
	if err == nil || !errors.Is(err, filterjit.ErrTooComplex) && !errors.As(err, &refused) {
		return t, err
	}
	if v.Tap != nil {
		return nil, fmt.Errorf("%w (%w)", filterjit.ErrTooComplex, err)
	}
	s.Say("the filter is too complex for this kernel: user space filters, at the cost of a record a packet")
	o.Splice = nil
	return tracer.Open(o)
}
