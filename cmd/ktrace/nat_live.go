// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/event"
)

// newNAT is the verb about service translation.
func newNAT(s replay.Streams) *cobra.Command {
	var (
		f    flags.Flags
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
			expr, err := flags.ParsePathFilter(args)
			if err != nil {
				return err
			}
			known, err := serviceRange(cidr)
			if err != nil {
				return err
			}
			v, done := live.WatchNode(known(live.WatchFlows(live.View{View: own.view()}, f.HostRoot)), f.HostRoot)
			v.Filter = expr
			return errors.Join(live.Run(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	f.AddDevices(c.Flags())
	own.add(c.Flags())
	addServiceRange(c.Flags(), &cidr)
	return c
}

func addServiceRange(fs *pflag.FlagSet, cidr *string) {
	fs.StringVar(cidr, "service-cidr", "", "addresses of services, as in 10.96.0.0/12 (of both families: with a comma between), if nothing else names them")
}

// serviceRange makes the fact of the flag, for a view to begin with.
func serviceRange(cidr string) (func(live.View) live.View, error) {
	if cidr == "" {
		return func(v live.View) live.View { return v }, nil
	}
	var facts []event.Fact
	for text := range strings.SplitSeq(cidr, ",") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, flags.Usagef("--service-cidr %s: want addresses as in 10.96.0.0/12, or 10.96.0.0/12,fd00:96::/112", cidr)
		}
		facts = append(facts, event.Fact{Service: &event.ServiceFact{Source: "cidr", CIDR: prefix}})
	}
	return func(v live.View) live.View {
		return v.With(live.View{Begin: func() ([]event.Fact, error) { return facts, nil }})
	}, nil
}
