// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/tracer/probe"
)

// newReset is the verb for connections that end by a reset.
func newReset(s replay.Streams) *cobra.Command {
	var f flags.Flags
	c := &cobra.Command{
		Use:   "reset [flags] [FILTER]",
		Short: "TCP resets and rejects: who sent it and why",
		Long: `Shows connections that end, or never begin, by a reset, and packets of whatever protocol that are answered by an
ICMP error: unreachable, or prohibited. Each with who sent it (a process, the kernel, a firewall rule of this node, the
peer, something between the two), why, and both ends.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := flags.ParsePathFilter(args)
			if err != nil {
				return err
			}
			v := live.WatchVerdicts(watchResets(), probe.HookUntranslated, probe.HookRefused, probe.HookConntrackFull, probe.HookInvalid)
			v, done := live.WatchNode(v, f.HostRoot)
			v.Filter = expr
			return errors.Join(live.Run(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	return c
}

// watchResets watches sockets, drops, ICMP errors, and of TCP packets only those that begin or reset a connection.
func watchResets() live.View {
	v := live.WatchDrops(live.View{View: resetView()})
	v.Probes = append(v.Probes, probe.Sock)
	v.Path.TCPFlags = probe.FlagSYN | probe.FlagRST
	return v
}
