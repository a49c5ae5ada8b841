package main

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
	"ktrace/tracer"
)

// natFlags are those of the verb alone.
type natFlags struct{ all bool }

func (f *natFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "also show the first packet of every flow that is translated")
}

// newNAT is the verb about service translation.
func newNAT(s cli.Streams) *cobra.Command {
	var (
		f    cli.Flags
		own  natFlags
		cidr string
	)
	c := &cobra.Command{
		Use:   "nat [flags] [FILTER]",
		Short: "service translation: hits, misses, stale backends, conntrack trouble",
		Long: `Follows flows to services: to which backend they are translated (summed up at the end; --all shows them), those
that are not translated, that go to a backend which is gone, and that conntrack drops. Service addresses are known
from kube-proxy's rules, the API, the pods' resolv.conf, and --service-cidr.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := cli.ParsePathFilter(args)
			if err != nil {
				return err
			}
			known, err := serviceRange(cidr)
			if err != nil {
				return err
			}
			v, done := watchNode(known(watchFlows(own.view(), f.HostRoot)), f.HostRoot)
			v.Filter = expr
			return errors.Join(cli.Live(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	f.AddDevices(c.Flags())
	own.add(c.Flags())
	addServiceRange(c.Flags(), &cidr)
	return c
}

// view is what live and recorded translations are seen by.
func (f *natFlags) view() cli.View {
	facts := diagnose.NewFacts()
	translations := diagnose.NewTranslations(facts)
	v := cli.View{
		Kinds:  []decoder.Kind{decoder.KindNAT},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), translations.Stage()},
		Rules:  []decoder.Rule{facts, diagnose.NewDrops(facts), translations},
	}
	if !f.all {
		v.Keep = func(e decoder.Event) bool {
			n, ok := e.Body.(decoder.NAT)
			return isLoss(e) && (!ok || n.State != decoder.NATHit)
		}
	}
	return v
}

// watchFlows adds to a view what it asks the kernel for: the first packets of TCP, all others, all drops.
func watchFlows(v cli.View, root string) cli.View {
	v = watchVerdicts(watchDrops(v))
	v.Globals["hop_protocols"] = uint32(tracer.TCP | tracer.UDP | tracer.ICMP)
	v.Globals["hop_tcp_flags"] = uint32(tracer.FlagSYN | tracer.FlagRST)
	v.Witnesses = append(v.Witnesses, tracer.NewResolv(root))
	return v
}

func addServiceRange(fs *pflag.FlagSet, cidr *string) {
	fs.StringVar(cidr, "service-cidr", "", "addresses of services, as in 10.96.0.0/12 (of both families: with a comma between), if nothing else names them")
}

// serviceRange makes the fact of the flag, for a view to begin with.
func serviceRange(cidr string) (func(cli.View) cli.View, error) {
	if cidr == "" {
		return func(v cli.View) cli.View { return v }, nil
	}
	var facts []decoder.Fact
	for text := range strings.SplitSeq(cidr, ",") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, cli.Usagef("--service-cidr %s: want addresses as in 10.96.0.0/12, or 10.96.0.0/12,fd00:96::/112", cidr)
		}
		facts = append(facts, decoder.Fact{Service: &decoder.ServiceFact{Source: "cidr", CIDR: prefix}})
	}
	return func(v cli.View) cli.View {
		return v.With(cli.View{Begin: func() ([]decoder.Fact, error) { return facts, nil }})
	}, nil
}
