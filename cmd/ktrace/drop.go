// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// dropFlags are those of the verb alone.
type dropFlags struct{ all, summary bool }

func (f *dropFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "also show packets that are freed as drops though nothing is lost")
	fs.BoolVar(&f.summary, "summary", false, "no single drops: count them by cause, pod and place")
}

// view is the view of live and of recorded drops.
func (f *dropFlags) view() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: event.KindDrop})
	v := replay.View{
		Quiet:  f.summary,
		Kinds:  []event.Kind{event.KindDrop},
		Stages: []stage.Stage{stage.NewNames(), stage.NewDrops()},
		Rules:  append(rules.Rules(), stage.NewDropTotals()),
	}
	if !f.all {
		v.Keep = isLoss
	}
	return v
}

// isLoss reports whether an event is anything but a drop that lost nothing.
func isLoss(e event.Event) bool {
	d, ok := e.Body.(event.Drop)
	return !ok || d.Noise == ""
}
