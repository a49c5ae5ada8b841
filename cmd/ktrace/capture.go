package main

import (
	"github.com/spf13/cobra"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
)

// captureOptions are the flags of the capture verb.
type captureOptions struct {
	cli.Flags
	devices []string
	snap    uint32
}

// maxSnap is what tcpdump takes of a packet unless it is told otherwise, and what 0 means.
const maxSnap = 262144

// newCapture is the verb that takes whole packets.
func newCapture(s cli.Streams) *cobra.Command {
	var o captureOptions
	c := &cobra.Command{
		Use:   "capture [flags] [FILTER]",
		Short: "whole packets, of pods by name, as lines or as annotated pcapng",
		Long: `Takes whole packets at the devices of the chosen pods, in whatever network namespace they are, and of pods that
come while it runs; without a pod, at the node's own devices. It prints a line a packet, with the names of both ends.

FILTER is an expression as tcpdump takes it (pcap-filter(7)); it runs in the kernel.

-c, -i and -s mean what they mean with tcpdump. So -c is no container here: the containers of a pod
share one network.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.run(c, args, s)
		},
	}
	f := c.Flags()
	o.AddPackets(f)
	o.AddLive(f)
	f.StringArrayVarP(&o.devices, "interface", "i", nil, "at this device, or all that match a pattern; any is all with loopback (repeatable)")
	f.Uint32VarP(&o.snap, "snapshot-length", "s", maxSnap, "bytes to take of a packet; 0 is the default")
	return c
}

func (o *captureOptions) run(c *cobra.Command, args []string, s cli.Streams) error {
	expr, err := cli.ParseFilter(args)
	if err != nil {
		return err
	}
	if o.snap == 0 || o.snap > maxSnap {
		o.snap = maxSnap
	}
	if o.Ring == 0 {
		o.Ring = captureRing
	}
	return cli.Live(c.Context(), o.Flags, cli.View{
		Kinds:  []decoder.Kind{decoder.KindFrame},
		Stages: []decoder.Stage{decoder.NewNames()},
		Tap:    &cli.Tap{Devices: o.devices, Snap: o.snap},
		Filter: expr,
	}, s)
}

// captureRing is the size of the ring, bytes: room for what comes while a file is written.
const captureRing = 32 << 20
