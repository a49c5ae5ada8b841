package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"ktrace/decoder"
	"ktrace/decoder/filter"
	"ktrace/tracer"
	splice "ktrace/tracer/filter"
)

// ParseFilter reads the expression that follows the flags; nil if there is none. A mistake is shown where it is.
func ParseFilter(args []string) (*filter.Expr, error) {
	return parseFilter(args, filter.LinkEthernet)
}

// ParsePathFilter is ParseFilter for packets on their way through the node, which are seen from their network header
// on.
func ParsePathFilter(args []string) (*filter.Expr, error) {
	e, err := parseFilter(args, filter.LinkRaw)
	if e != nil {
		err = pointed(e.NeedsLink())
	}
	return e, err
}

// parseFilter makes sure that the expression suits the link type, and that there are packets that pass.
func parseFilter(args []string, link filter.LinkType) (*filter.Expr, error) {
	text := strings.Join(args, " ")
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	e, err := filter.Parse(text)
	var p *filter.Program
	if err == nil {
		p, err = e.Compile(link)
	}
	if err == nil && p.Start == filter.Reject {
		err = &filter.Error{Expr: text, Column: 1, Msg: "rejects every packet that is seen here"}
	}
	if err != nil {
		return nil, pointed(err)
	}
	return e, nil
}

// pointed shows a mistake in an expression where it is.
func pointed(err error) error {
	var at *filter.Error
	if errors.As(err, &at) {
		return Usagef("%v\n%s", err, at.Point())
	}
	return err
}

// sift is what the view's expression makes of events; nil if it has none, or if it is about whole packets, which are
// filtered where they come from.
func (v View) sift() (func(decoder.Event) bool, error) {
	if v.Filter == nil || v.Tap != nil || slices.Contains(v.Kinds, decoder.KindFrame) {
		return nil, nil
	}
	s, err := decoder.NewSieve(v.Filter)
	if err != nil {
		return nil, err
	}
	return s.Keep, nil
}

// Bytes of a packet that the path object takes, by the name of its variable: with an expression at least the headers.
const (
	snapName  = "snap"
	snapLeast = uint32(128)
)

// open loads and attaches. An expression that the kernel does not take is left to user space where events are sifted
// anyway.
func (v View) open(o tracer.Options, s Streams) (*tracer.Tracer, error) {
	if v.Filter == nil {
		return tracer.Open(o)
	}
	o.Globals = maps.Clone(o.Globals)
	if n, ok := o.Globals[snapName].(uint32); ok { // a recording must have what the expression asks for
		o.Globals[snapName] = max(n, snapLeast)
	}
	o.Splice = func(spec *ebpf.CollectionSpec) error {
		if v.Tap != nil && !splice.Takes(spec, splice.FrameStub) {
			return nil // it says what to capture, not what to conclude from
		}
		_, err := splice.Splice(spec, v.Filter)
		return err
	}
	t, err := tracer.Open(o)
	var refused *ebpf.VerifierError
	if err == nil || !errors.Is(err, splice.ErrTooComplex) && !errors.As(err, &refused) {
		return t, err
	}
	if v.Tap != nil {
		return nil, fmt.Errorf("%w (%w)", splice.ErrTooComplex, err)
	}
	s.say("the filter is too complex for this kernel: user space filters, at the cost of a record a packet")
	o.Splice = nil
	return tracer.Open(o)
}
