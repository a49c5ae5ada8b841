// SPDX-License-Identifier: Apache-2.0

package live

import (
	"slices"
	"time"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/tracer/probe"
)

// View is what a verb adds to a run on a node: what to load and which sources to read, beside the view of its events.
type View struct {
	replay.View

	Probes   []string          // by name in the tracer's table
	Path     *probe.PathFilter // for the path object; nil if it is not loaded
	Globals  []probe.Globals   // for the others
	Unwanted []string          // hooks of the probes, by name, that are not needed
	Needs    []string          // capabilities that its facts need, as long as it runs, beside those of every verb
	Clear    bool              // on a terminal each summary takes the place of the one before
	Iterate  time.Duration     // between two looks at what is open; 0 takes the default
	Optional []string          // probes that the view is of use without, should the kernel refuse them

	Tap  *Tap  // take whole packets at devices; nil for none
	Save *Save // how packets are saved, beside -w

	Prepare   func(probe.Maps) error                 // before any program runs
	Witnesses []decoder.Enricher                     // add the facts that events refer to, in turn
	Begin     func() ([]event.Fact, error)           // facts that the stream starts with
	Poll      func(probe.Maps) ([]event.Fact, error) // every second and at the end
}

// With returns a view that also traces what another one does: its probes, with what they
// need, and its witnesses. What is shown and concluded stays the view's own.
func (v View) With(o View) View {
	v.Probes = slices.Concat(v.Probes, o.Probes)
	if v.Path == nil {
		v.Path = o.Path
	}
	v.Globals = slices.Concat(v.Globals, o.Globals)
	v.Unwanted = slices.Concat(v.Unwanted, o.Unwanted)
	v.Needs = slices.Concat(v.Needs, o.Needs)
	v.Optional = slices.Concat(v.Optional, o.Optional)
	v.Witnesses = slices.Concat(v.Witnesses, o.Witnesses)
	v.Prepare = bothPrepare(v.Prepare, o.Prepare)
	v.Begin = bothBegin(v.Begin, o.Begin)
	v.Poll = bothPoll(v.Poll, o.Poll)
	return v
}

func bothPrepare(a, b func(probe.Maps) error) func(probe.Maps) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(m probe.Maps) error {
		if err := a(m); err != nil {
			return err
		}
		return b(m)
	}
}

func bothBegin(a, b func() ([]event.Fact, error)) func() ([]event.Fact, error) {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func() ([]event.Fact, error) {
		facts, err := a()
		if err != nil {
			return facts, err
		}
		more, err := b()
		return append(facts, more...), err
	}
}

func bothPoll(a, b func(probe.Maps) ([]event.Fact, error)) func(probe.Maps) ([]event.Fact, error) {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(m probe.Maps) ([]event.Fact, error) {
		facts, err := a(m)
		if err != nil {
			return facts, err
		}
		more, err := b(m)
		return append(facts, more...), err
	}
}
