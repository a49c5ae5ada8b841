// SPDX-License-Identifier: Apache-2.0

package main

import (
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// resetView is the view of live and of recorded resets.
func resetView() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: event.KindReset})
	return replay.View{
		Kinds:  []event.Kind{event.KindReset},
		Early:  []stage.Stage{stage.NewOverflows()},
		Stages: []stage.Stage{stage.NewNames(), stage.NewDrops(), stage.NewResets()},
		Rules:  rules.Rules(),
	}
}
