// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/tracer/node"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
)

// newDNS is the verb that shows queries, answers, and why an answer did not come.
func newDNS(s replay.Streams) *cobra.Command {
	var (
		f    flags.Flags
		own  dnsFlags
		cidr string
	)
	c := &cobra.Command{
		Use:   "dns [flags] [FILTER]",
		Short: "queries, answers, latency, and why an answer did not come",
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := flags.ParsePathFilter(args)
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
			v, done := live.WatchNode(known(live.WatchVerdicts(own.live())), f.HostRoot)
			v.Witnesses = append(v.Witnesses, node.NewResolv(procfs.New(f.HostRoot)))
			v.Filter = expr
			return errors.Join(live.Run(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	own.add(c.Flags())
	addServiceRange(c.Flags(), &cidr)
	return c
}

const _ = uint(probe.MaxPorts - maxPorts) // there is room for them

// live adds to the view what the kernel is to report.
func (f *dnsFlags) live() live.View {
	const snap = 512 // bytes of a message: what a query takes, and of an answer the most
	v := live.View{View: f.view()}
	v.Probes = []string{probe.Path, probe.DNS, probe.Sock}
	v.Optional = append(v.Optional, probe.DNS, probe.Sock)
	v.Unwanted = hooksBut(probe.Sock, probe.HookNoRoute)
	const protocols = probe.UDP | probe.ICMP | probe.TCP
	v.Path = &probe.PathFilter{
		Hops: protocols, Drops: protocols, Ports: f.ports, Snap: snap,
		TCPFlags: probe.FlagSYN | probe.FlagRST, // data of TCP comes from sockets
	}
	v.Globals = []probe.Globals{probe.DNSPorts(f.ports)}
	return v
}
