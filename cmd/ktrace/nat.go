package main

import (
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// natFlags are those of the verb alone.
type natFlags struct{ all bool }

func (f *natFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "also show the first packet of every flow that is translated")
}

// view is the view of live and of recorded translations.
func (f *natFlags) view() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: decoder.KindNAT})
	v := replay.View{
		Kinds:  []decoder.Kind{decoder.KindNAT},
		Stages: append([]decoder.Stage{decoder.NewNames(), decoder.NewDrops()}, rules.Stages()...),
		Rules:  rules.Rules(),
	}
	if !f.all {
		v.Keep = func(e decoder.Event) bool {
			n, ok := e.Body.(decoder.NAT)
			return isLoss(e) && (!ok || n.State != decoder.NATHit)
		}
	}
	return v
}
