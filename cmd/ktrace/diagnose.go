// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"

	"github.com/spf13/pflag"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/dns"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// dnsPort is the port of DNS servers by default.
const dnsPort = 53

// slowLookup is the default limit for the latency of DNS.
const slowLookup = 100 * time.Millisecond

func addSlow(fs *pflag.FlagSet, slow *time.Duration) {
	fs.DurationVar(slow, "slow", slowLookup, "DNS answers that take longer are a finding")
}

// diagnoseView is every stage and every rule; slow and window are as in diagnose.Config.
func diagnoseView(slow, window time.Duration) (replay.View, *stage.Fsync) {
	const dnsWait = 5 * time.Second
	syncs := &stage.Fsync{Silent: true}
	podOf := func(uint64) event.Pod { return event.Pod{} }
	rules := diagnose.NewRules(diagnose.Config{
		Slow: slow, Slowest: syncs.Slowest, Forget: syncs.Forget, Window: window,
		Pod: func(cgroup uint64) event.Pod { return podOf(cgroup) },
	})
	return replay.View{
		Hold:  true,
		Keep:  isLoss,
		Pods:  func(of func(uint64) event.Pod) { podOf = of },
		Early: []stage.Stage{stage.NewOverflows()},
		Stages: slices.Concat([]stage.Stage{stage.NewNames(), stage.NewDrops()}, rules.Stages(), []stage.Stage{
			dns.New(dns.Options{Wait: dnsWait, Slow: slow, Ports: []uint16{dnsPort}}), stage.NewResets(), stage.NewConnects(), syncs,
		}),
		Rules: rules.Rules(),
	}, syncs
}
