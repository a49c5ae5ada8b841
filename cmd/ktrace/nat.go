// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// natFlags are those of the verb alone.
type natFlags struct{ all bool }

func (f *natFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "also show the first packet of every flow that is translated")
}

// view is the view of live and of recorded translations.
func (f *natFlags) view() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: event.KindNAT})
	v := replay.View{
		Kinds:  []event.Kind{event.KindNAT},
		Stages: append([]stage.Stage{stage.NewNames(), stage.NewDrops()}, rules.Stages()...),
		Rules:  rules.Rules(),
	}
	if !f.all {
		v.Keep = func(e event.Event) bool {
			n, ok := e.Body.(event.NAT)
			return isLoss(e) && (!ok || n.State != event.NATHit)
		}
	}
	return v
}
