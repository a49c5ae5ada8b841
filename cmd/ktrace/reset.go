package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// resetView is what live and recorded resets are seen by.
func resetView() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: decoder.KindReset})
	return replay.View{
		Kinds:  []decoder.Kind{decoder.KindReset},
		Early:  []decoder.Stage{decoder.NewOverflows()},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), decoder.NewResets()},
		Rules:  rules.Rules(),
	}
}
