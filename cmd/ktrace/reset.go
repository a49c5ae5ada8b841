package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// resetView is what live and recorded resets are seen by.
func resetView() replay.View {
	facts := diagnose.NewState()
	return replay.View{
		Kinds:  []decoder.Kind{decoder.KindReset},
		Early:  []decoder.Stage{decoder.NewOverflows()},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), decoder.NewResets()},
		Rules:  []decoder.Rule{facts, diagnose.NewResets(facts, true), diagnose.NewSockets()},
	}
}
