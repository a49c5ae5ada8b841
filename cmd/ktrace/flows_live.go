// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/tracer/probe"
)

// topEvery is how often --top shows the table anew.
const topEvery = 2 * time.Second

// newFlows is the verb that lists TCP connections.
func newFlows(s replay.Streams) *cobra.Command {
	var (
		f    flags.Flags
		view flowsFlags
		top  bool
	)
	c := &cobra.Command{
		Use:   "flows [flags] [FILTER]",
		Short: "TCP connections: who, to whom, translated to, bytes, loss, handshake time, verdict",
		Long: `Lists the TCP connections of the node, or of the selected pods, as their own sockets know them: both ends, service and
backend, state, bytes each way, what had to be sent again, the round trip of the handshake, and how they do. Those in trouble come
first. The table is printed at the end, and with --top every two seconds; on a terminal in place of the one before.

A connection is listed from each end that is on this node. VERDICT is one of: unacked (nothing is acknowledged any more), stalled (a
window is zero: a process does not read), lossy (one segment of sixteen or more is sent again), error (it ended by one), noanswer
(it was not established), ok.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(f.Validate(), view.validate()); err != nil {
				return err
			}
			expr, err := flags.ParsePathFilter(args)
			if err != nil {
				return err
			}
			v, done := live.WatchNode(watchConnections(&view, top), f.HostRoot)
			v.Filter = expr
			return errors.Join(live.Run(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	view.add(c.Flags())
	c.Flags().BoolVar(&top, "top", false, "show the table every two seconds; on a terminal in place")
	return c
}

// watchConnections watches sockets, and of packets those that begin or reset a TCP connection.
func watchConnections(view *flowsFlags, top bool) live.View {
	every := time.Duration(0)
	if top {
		every = topEvery
	}
	v := live.WatchDrops(live.View{View: view.view(every)})
	v.Probes = append(v.Probes, probe.Flow)
	v.Path.TCPFlags = probe.FlagSYN | probe.FlagRST
	v.Globals = append(v.Globals, probe.EveryFlow(true))
	v.Iterate, v.Clear = every, top
	return v
}
