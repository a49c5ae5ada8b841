package live

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/tracer"
	"ktrace/tracer/filterjit"
)

// sift is replay.View.Sift; of whole packets the expression is asked where they come from.
func (v View) sift() (func(decoder.Event) bool, error) {
	if v.Tap != nil {
		return nil, nil
	}
	return v.Sift()
}

// Bytes of a packet that the path object takes, by the name of its variable: with an expression at least the headers.
const (
	snapName  = "snap"
	snapLeast = uint32(128)
)

// open loads and attaches. An expression that the kernel does not take is left to user space where events are sifted
// anyway.
func (v View) open(o tracer.Options, s replay.Streams) (*tracer.Tracer, error) {
	if v.Filter == nil {
		return tracer.Open(o)
	}
	o.Globals = maps.Clone(o.Globals)
	if n, ok := o.Globals[snapName].(uint32); ok { // a recording must have what the expression asks for
		o.Globals[snapName] = max(n, snapLeast)
	}
	o.Splice = func(spec *ebpf.CollectionSpec) error {
		if v.Tap != nil && !filterjit.Takes(spec, filterjit.FrameStub) {
			return nil // it says what to capture, not what to conclude from
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
