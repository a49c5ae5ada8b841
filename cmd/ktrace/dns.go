package main

import (
	"errors"
	"maps"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/dns"
	"ktrace/tracer"
)

// dnsFlags are those of the verb alone.
type dnsFlags struct {
	ports []uint
	wait  time.Duration
	slow  time.Duration
}

func (f *dnsFlags) add(fs *pflag.FlagSet) {
	fs.UintSliceVar(&f.ports, "port", []uint{dnsPort}, "ports that servers are asked at; where they are translated to is followed")
	fs.DurationVar(&f.wait, "wait", 5*time.Second, "how long an answer may take")
	fs.DurationVar(&f.slow, "slow", slowLookup, "answers that take longer are a finding")
}

func (f *dnsFlags) validate() error {
	if n := len(f.ports); n == 0 || n > tracer.MaxPorts {
		return cli.Usagef("--port: %d ports, want 1 to %d", n, tracer.MaxPorts)
	}
	for _, p := range f.ports {
		if p == 0 || p > 65535 {
			return cli.Usagef("--port %d: want 1 to 65535", p)
		}
	}
	if f.wait <= 0 || f.slow <= 0 {
		return cli.Usagef("--wait and --slow: want positive times, as in 5s")
	}
	return nil
}

// view is what live and recorded queries are seen by.
func (f *dnsFlags) view() cli.View {
	facts := diagnose.NewFacts()
	return cli.View{
		Kinds:  []decoder.Kind{decoder.KindDNS},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), dns.New(dns.Options{Wait: f.wait, Slow: f.slow, Ports: f.serverPorts()})},
		Rules:  []decoder.Rule{facts, diagnose.NewDNSLoops(facts), diagnose.NewDNS(facts, f.slow), diagnose.NewLookups(facts), diagnose.NewTruncated(facts)},
	}
}

// serverPorts are the ports that servers are asked at.
func (f *dnsFlags) serverPorts() []uint16 {
	var ports []uint16
	for _, p := range f.ports {
		ports = append(ports, uint16(p))
	}
	return ports
}

// newDNS is the verb that shows queries, answers, and why an answer did not come.
func newDNS(s cli.Streams) *cobra.Command {
	var (
		flags cli.Flags
		own   dnsFlags
		cidr  string
	)
	c := &cobra.Command{
		Use:   "dns [flags] [FILTER]",
		Short: "queries, answers, latency, and why an answer did not come",
		RunE: func(c *cobra.Command, args []string) error {
			if err := flags.Validate(); err != nil {
				return err
			}
			expr, err := cli.ParsePathFilter(args)
			if err != nil {
				return err
			}
			if err := own.validate(); err != nil {
				return err
			}
			known, err := serviceRange(cidr)
			if err != nil {
				return err
			}
			v, done := watchNode(known(watchVerdicts(own.live())), flags.HostRoot)
			v.Witnesses = append(v.Witnesses, tracer.NewResolv(flags.HostRoot))
			v.Filter = expr
			return errors.Join(cli.Live(c.Context(), flags, v, s), done())
		},
	}
	flags.Add(c.Flags())
	flags.AddLive(c.Flags())
	own.add(c.Flags())
	addServiceRange(c.Flags(), &cidr)
	return c
}

// live adds to the view what it asks the kernel for.
func (f *dnsFlags) live() cli.View {
	const snap = 512 // bytes of a message: what a query takes, and of an answer the most
	v := f.view()
	v.Probes = []string{"path", tracer.DNSProbe}
	v.Optional = append(v.Optional, tracer.DNSProbe)
	v.Globals = tracer.PathFilter{Protocols: tracer.UDP | tracer.ICMP | tracer.TCP, Ports: f.ports, Snap: snap}.Globals()
	v.Globals["hop_tcp_flags"] = uint32(tracer.FlagSYN | tracer.FlagRST) // data of TCP comes from sockets
	maps.Copy(v.Globals, tracer.DNSPorts(f.ports))
	return v
}
