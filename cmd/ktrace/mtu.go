package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// mtuView is the view of live and of recorded packets.
func mtuView() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: decoder.KindMTU})
	return replay.View{
		Kinds:  []decoder.Kind{decoder.KindMTU},
		Keep:   isLoss,
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), diagnose.NewMTUs(rules.State)},
		Rules:  rules.Rules(),
	}
}
