package main

import (
	"time"

	"github.com/spf13/pflag"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/dns"
)

// dnsPort is where servers are asked by default.
const dnsPort = 53

// slowLookup is what is too slow for DNS unless told otherwise.
const slowLookup = 100 * time.Millisecond

func addSlow(fs *pflag.FlagSet, slow *time.Duration) {
	fs.DurationVar(slow, "slow", slowLookup, "DNS answers that take longer are a finding")
}

// diagnoseView is every stage and every rule.
func diagnoseView(slow time.Duration) (replay.View, *decoder.FsyncStage) {
	v, levels := packetRules(slow)
	syncs := &decoder.FsyncStage{Silent: true}
	disks := &diagnose.Fsync{Slowest: syncs.Slowest, Forget: syncs.Forget}
	v.Hold = true
	v.Pods = func(of func(uint64) decoder.Pod) { disks.Pod = of }
	v.Stages = append(v.Stages, syncs)
	v.Rules = append(v.Rules, disks, diagnose.NewInhibitor(levels...))
	return v, syncs
}

// packetRules is every stage about packets, and the rules by level, for diagnose.NewInhibitor: those that see the packets
// themselves, those about what takes or carries them, and those that see what becomes of transactions and connections.
func packetRules(slow time.Duration) (v replay.View, levels [][]decoder.Rule) {
	const dnsWait = 5 * time.Second
	facts := diagnose.NewState()
	translations := diagnose.NewTranslations(facts)
	v = replay.View{
		Keep:  isLoss,
		Early: []decoder.Stage{decoder.NewOverflows()},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), translations.Stage(),
			dns.New(dns.Options{Wait: dnsWait, Slow: slow, Ports: []uint16{dnsPort}}), decoder.NewResets()},
		Rules: []decoder.Rule{facts},
	}
	return v, [][]decoder.Rule{
		{diagnose.NewDrops(facts), translations, diagnose.NewConnectNoRoute(facts), diagnose.NewBlackholes(facts), diagnose.NewICMPErrors(facts), diagnose.NewDNSLoops(facts)},
		{diagnose.NewTunnels(facts), diagnose.NewSockets()},
		{diagnose.NewDNS(facts, slow), diagnose.NewDNSLookups(facts), diagnose.NewDNSTruncated(facts), diagnose.NewResets(facts, false),
			diagnose.NewBridges(facts), diagnose.NewCaptureOnly(facts), diagnose.NewTLS(facts)},
	}
}
