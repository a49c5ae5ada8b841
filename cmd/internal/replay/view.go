// SPDX-License-Identifier: Apache-2.0

// Package replay runs views over files, on every system: what was recorded or captured, through the same stages and rules as
// on a live node, to the same printers.
package replay

import (
	"fmt"
	"io"
	"slices"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/eventfilter"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pod"
	"ktrace/decoder/printable"
	"ktrace/decoder/stage"
)

// View is what a verb makes of events: how to join them, what to show, what to conclude.
type View struct {
	Kinds   []event.Kind  // of events to show
	Early   []stage.Stage // before pods are named
	Stages  []stage.Stage
	Rules   []stage.Rule
	Hold    bool                   // findings at the end, worst first; on a terminal also at once what is certain
	Certain bool                   // end when something above information is certain
	Every   time.Duration          // show the summary so far after so much time, again and again; 0 for the end alone
	Keep    func(event.Event) bool // what is worth showing and concluding from; nil: everything that is selected
	Quiet   bool                   // show no events: they are in the summary
	Filter  *pcapfilter.Expr       // what packets must match; nil for all

	// Pods is called before the first event with the lookup of a cgroup's pod, for what has a pod and is no event.
	Pods func(of func(cgroup uint64) event.Pod)
}

// Streams are where the output goes.
type Streams struct {
	Out io.Writer // events, findings, summary
	Err io.Writer // messages
}

// Say prints a message for the user beside the output.
func (s Streams) Say(text string) { fmt.Fprintf(s.Err, "ktrace: %s\n", printable.Text(text)) }

// Pipeline is the one way from the stream to the user, but for its source and printer.
func (v View) Pipeline(f flags.Flags, selector pod.Selector) *decoder.Pipeline {
	pods := pod.NewIndex()
	if v.Pods != nil {
		v.Pods(pods.Of)
	}
	return &decoder.Pipeline{
		Stages: slices.Concat(v.Early, []stage.Stage{pods, stage.NewForgeries(pods)}, v.Stages, []stage.Stage{pods.Backends()}),
		Rules:  v.Rules,
		Wanted: func(k event.Kind) bool { return slices.Contains(v.Kinds, k) },
		Keep: func(e event.Event) bool {
			return pods.Selected(selector, e) && f.At(e) && (v.Keep == nil || v.Keep(e))
		},
		Count: f.Count,
		Hold:  v.Hold, Certain: v.Certain,
		Every:   v.Every,
		OwnerOf: pods.Whose,
	}
}

// Sift is what the view's expression makes of events; nil if it has none, or if it is about whole packets, which are
// filtered where they come from.
func (v View) Sift() (func(event.Event) bool, error) {
	if v.Filter == nil || slices.Contains(v.Kinds, event.KindFrame) {
		return nil, nil
	}
	s, err := eventfilter.New(v.Filter)
	if err != nil {
		return nil, err
	}
	return s.Match, nil
}
