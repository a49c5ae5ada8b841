package main

import (
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// dropFlags are those of the verb alone.
type dropFlags struct{ all, summary bool }

func (f *dropFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "also show packets that are freed as drops though nothing is lost")
	fs.BoolVar(&f.summary, "summary", false, "no single drops: count them by cause, pod and place")
}

// view is the view of live and of recorded drops.
func (f *dropFlags) view() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: decoder.KindDrop})
	v := replay.View{
		Quiet:  f.summary,
		Kinds:  []decoder.Kind{decoder.KindDrop},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops()},
		Rules:  append(rules.Rules(), decoder.NewDropTotals()),
	}
	if !f.all {
		v.Keep = isLoss
	}
	return v
}

// isLoss reports whether an event is anything but a drop that lost nothing.
func isLoss(e decoder.Event) bool {
	d, ok := e.Body.(decoder.Drop)
	return !ok || d.Noise == ""
}
