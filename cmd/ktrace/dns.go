// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/spf13/pflag"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/dns"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// maxPorts is how many ports of servers may be given: as many as the programs in the kernel compare a packet with.
const maxPorts = 8

// dnsFlags are those of the verb alone.
type dnsFlags struct {
	ports []uint
	wait  time.Duration
	slow  time.Duration
}

func (f *dnsFlags) add(fs *pflag.FlagSet) {
	fs.UintSliceVar(&f.ports, "port", []uint{dnsPort}, "ports of DNS servers; where they are translated to is followed")
	fs.DurationVar(&f.wait, "wait", 5*time.Second, "how long an answer may take")
	fs.DurationVar(&f.slow, "slow", slowLookup, "answers that take longer are a finding")
}

func (f *dnsFlags) validate() error {
	if n := len(f.ports); n == 0 || n > maxPorts {
		return flags.Usagef("--port: %d ports, want 1 to %d", n, maxPorts)
	}
	for _, p := range f.ports {
		if p == 0 || p > 65535 {
			return flags.Usagef("--port %d: want 1 to 65535", p)
		}
	}
	if f.wait <= 0 || f.slow <= 0 {
		return flags.Usagef("--wait and --slow: want positive times, as in 5s")
	}
	return nil
}

// view is the view of live and of recorded queries.
func (f *dnsFlags) view() replay.View {
	rules := diagnose.NewRules(diagnose.Config{Kind: event.KindDNS, Slow: f.slow, Ports: f.serverPorts()})
	return replay.View{
		Kinds:  []event.Kind{event.KindDNS},
		Stages: []stage.Stage{stage.NewNames(), stage.NewDrops(), dns.New(dns.Options{Wait: f.wait, Slow: f.slow, Ports: f.serverPorts()})},
		Rules:  rules.Rules(),
	}
}

// serverPorts are the ports of DNS servers.
func (f *dnsFlags) serverPorts() []uint16 {
	var ports []uint16
	for _, p := range f.ports {
		ports = append(ports, uint16(p))
	}
	return ports
}
