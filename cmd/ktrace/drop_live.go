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

// newDrop is the verb that shows packets which the kernel dropped.
func newDrop(s replay.Streams) *cobra.Command {
	var (
		f   flags.Flags
		own dropFlags
	)
	c := &cobra.Command{
		Use:   "drop [flags] [FILTER]",
		Short: "dropped packets: reason, location, pod",
		Long: `Shows every packet that the kernel drops: its reason, the function and place, the ICMP error or reset that
its sender got, and, where it is known, the firewall rule. Packets that are freed as drops without being a loss
(consumed by a socket's own filter, for other hosts, multicast that no socket joined, what a closed socket had not read)
are counted as filtered; --all shows them.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := flags.ParsePathFilter(args)
			if err != nil {
				return err
			}
			v, done := live.WatchNode(live.WatchVerdicts(live.WatchDrops(live.View{View: own.view()}), probe.HookUntranslated), f.HostRoot)
			v.Filter = expr
			return errors.Join(live.Run(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	f.AddDevices(c.Flags())
	own.add(c.Flags())
	return c
}
