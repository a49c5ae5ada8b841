package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// resetView is the view of live and of recorded resets.
func resetView() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: decoder.KindReset})
	return replay.View{
		Kinds:  []decoder.Kind{decoder.KindReset},
		Early:  []decoder.Stage{decoder.NewOverflows()},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), decoder.NewResets()},
		Rules:  rules.Rules(),
	}
}
