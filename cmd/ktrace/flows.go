// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/spf13/pflag"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// flowsFlags are those of the view of connections.
type flowsFlags struct{ rows int }

func (f *flowsFlags) add(fs *pflag.FlagSet) {
	fs.IntVar(&f.rows, "rows", 50, "how many connections the table has at most, those in trouble first")
}

func (f *flowsFlags) validate() error {
	if f.rows < 1 {
		return flags.Usagef("--rows %d: want a positive number", f.rows)
	}
	return nil
}

// view is that of live and of recorded connections; every is as in replay.View.
func (f *flowsFlags) view(every time.Duration) replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: event.KindFlow})
	return replay.View{
		Kinds:  []event.Kind{event.KindFlow},
		Quiet:  true,
		Stages: []stage.Stage{stage.NewNames(), stage.NewDrops(), stage.NewConnects()},
		Rules:  append(rules.Rules(), stage.NewFlowTable(f.rows)),
		Every:  every,
	}
}
