package main

import (
	"github.com/spf13/cobra"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
)

// newReset is the verb for connections that end by a reset.
func newReset(s cli.Streams) *cobra.Command {
	var f cli.Flags
	c := &cobra.Command{
		Use:   "reset",
		Short: "TCP resets and rejects: who sent it and why",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			return cli.Live(c.Context(), f, resetView(), s)
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	return c
}

// What the path object is asked for, as bpf/path.bpf.c numbers it.
const (
	wantTCP  = uint32(1)
	tcpSYN   = uint32(0x02)
	tcpReset = uint32(0x04)
)

// resetView watches sockets, and of packets only those that begin or reset a connection.
func resetView() cli.View {
	return cli.View{
		Probes:  []string{"path", "sock"},
		Globals: map[string]any{"hop_protocols": wantTCP, "hop_tcp_flags": tcpSYN | tcpReset, "drop_protocols": wantTCP},
		Kinds:   []decoder.Kind{decoder.KindReset},
		Stages:  []decoder.Stage{decoder.NewNames(), decoder.NewResets()},
		Rules:   []decoder.Rule{diagnose.NewResets(), diagnose.NewSockets()},
	}
}
