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

// view is what live and recorded translations are seen by.
func (f *natFlags) view() replay.View {
	facts := diagnose.NewState()
	translations := diagnose.NewTranslations(facts)
	v := replay.View{
		Kinds:  []decoder.Kind{decoder.KindNAT},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), translations.Stage()},
		Rules:  []decoder.Rule{facts, diagnose.NewDrops(facts), translations},
	}
	if !f.all {
		v.Keep = func(e decoder.Event) bool {
			n, ok := e.Body.(decoder.NAT)
			return isLoss(e) && (!ok || n.State != decoder.NATHit)
		}
	}
	return v
}
