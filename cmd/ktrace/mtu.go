package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// mtuView is what live and recorded packets are seen by.
func mtuView() replay.View {
	facts := diagnose.NewState()
	return replay.View{
		Kinds:  []decoder.Kind{decoder.KindMTU},
		Keep:   isLoss,
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), diagnose.NewMTUs(facts)},
		Rules:  []decoder.Rule{facts, diagnose.NewDrops(facts), diagnose.NewBlackholes(facts)},
	}
}
