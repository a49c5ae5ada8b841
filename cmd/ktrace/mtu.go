package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// mtuView is what live and recorded packets are seen by.
func mtuView() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: decoder.KindMTU})
	return replay.View{
		Kinds:  []decoder.Kind{decoder.KindMTU},
		Keep:   isLoss,
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), diagnose.NewMTUs(rules.State)},
		Rules:  rules.Rules(),
	}
}
