// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/tracer/probe"
)

// newMTU is the verb about packets that are larger than the path MTU.
func newMTU(s replay.Streams) *cobra.Command {
	var f flags.Flags
	c := &cobra.Command{
		Use:   "mtu [flags] [FILTER]",
		Short: "packets larger than the path MTU, and silent path-MTU black holes",
		Long: `Shows packets that are dropped for their size: how long they are, the limit, the device, and the
ICMP error that the sender got. At the end of a veth and at a bridge's port the kernel sends no ICMP error. A black hole
beyond this node is found by large packets that senders here retransmit while their small packets pass.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := flags.ParsePathFilter(args)
			if err != nil {
				return err
			}
			v, done := live.WatchNode(live.WatchDrops(live.View{View: mtuView()}), f.HostRoot)
			v.Filter = expr
			v.Probes = append(v.Probes, probe.Sock)
			v.Path.TCPFlags = probe.FlagSYN | probe.FlagRST
			v.Unwanted = hooksBut(probe.Sock, probe.HookTCPState, probe.HookRetransmit)
			return errors.Join(live.Run(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	f.AddDevices(c.Flags())
	return c
}

// hooksBut are the names of a probe's hooks but for those that are wanted.
func hooksBut(of string, wanted ...string) []string {
	var others []string
	for _, p := range probe.All() {
		for _, h := range p.Hooks {
			if p.Name == of && !slices.Contains(wanted, h.Name) {
				others = append(others, h.Name)
			}
		}
	}
	return others
}
