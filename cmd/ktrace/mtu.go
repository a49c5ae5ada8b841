// SPDX-License-Identifier: Apache-2.0

package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// mtuView is the view of live and of recorded packets.
func mtuView() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: event.KindMTU})
	return replay.View{
		Kinds:  []event.Kind{event.KindMTU},
		Keep:   isLoss,
		Stages: []stage.Stage{stage.NewNames(), stage.NewDrops(), diagnose.NewMTUs(rules.State)},
		Rules:  rules.Rules(),
	}
}
