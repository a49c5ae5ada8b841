// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/cmd/internal/savefile"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// captureOptions are the flags of the capture verb.
type captureOptions struct {
	flags.Flags
	devices []string
	snap    uint32
	size    uint64
	every   uint64
	files   savefile.Options
	flight  flightOptions
}

// maxSnap is how many bytes of a packet tcpdump takes by default, and what 0 means.
const maxSnap = 262144

// newCapture is the verb that takes whole packets.
func newCapture(s replay.Streams) *cobra.Command {
	var o captureOptions
	c := &cobra.Command{
		Use:   "capture [flags] [FILTER]",
		Short: "whole packets, of pods by name, as lines or as annotated pcapng",
		Long: `Takes whole packets at the devices of the chosen pods, in whatever network namespace they are, and of pods that
come while it runs; without a pod, at the node's own devices. It prints a line a packet, with the names of both ends.

FILTER is an expression as tcpdump takes it (pcap-filter(7)); it runs in the kernel. Beyond tcpdump, tcp[...], udp[...] and
sctp[...] read IPv6 packets too.

With -w it writes pcapng that any Wireshark and tcpdump open: interfaces by the name of device and pod, directions,
names of addresses, a comment with both ends, honest counts of what was lost. Other formats have no room for that.

-c, -i, -s, -w, -C, -G, -W, -z and -U mean what they mean with tcpdump. So -c is no container here: the containers of a pod
share one network.

With --ring it is a flight recorder: the newest packets stay in memory until something fires, and are then written with
what follows for a while: the first time to FILE, then to FILE1, FILE2 and so on, or with -W to so many in turn. The file's
comment has the reason. Beside the packets it has what the kernel dropped, and what the cause was concluded from: "ktrace read
FILE diagnose" names it. Disks are judged every 15 s. --trigger is what fires, several may be given:

    finding        any finding above information that "ktrace diagnose" would report (the default)
    finding:ID     this one, whatever its severity
    signal         SIGUSR2
    EXPRESSION     a packet that passes it, as in 'tcp[tcpflags] & tcp-rst != 0'`,
		RunE: func(c *cobra.Command, args []string) error {
			for _, name := range []string{"trigger", "after", "service-cidr", "slow", "ask-certificates"} {
				if o.flight.megabytes == 0 && c.Flags().Changed(name) {
					return flags.Usagef("--%s is for the flight recorder: it needs --ring MEGABYTES", name)
				}
			}
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(c.Context(), args, s)
		},
	}
	f := c.Flags()
	o.AddPackets(f)
	o.AddLive(f)
	f.StringArrayVarP(&o.devices, "interface", "i", nil, "at this device, or all that match a pattern; any is all with loopback (repeatable)")
	f.Uint32VarP(&o.snap, "snapshot-length", "s", maxSnap, "bytes to take of a packet; 0 is the default")
	f.Uint64VarP(&o.size, "file-size", "C", 0, "with -w, begin another file after so many millions of bytes")
	f.Uint64VarP(&o.every, "rotate-seconds", "G", 0, "with -w, begin another file after so many seconds; its name goes through strftime")
	f.IntVarP(&o.files.Files, "file-count", "W", 0, "with -C, overwrite the oldest of so many files; with -G alone, end after so many")
	f.StringVarP(&o.files.Command, "postrotate-command", "z", "", "run this command on each file that is complete")
	o.flight.add(f)
	_ = c.RegisterFlagCompletionFunc("trigger", completeTrigger) // fails only for a flag that there is not
	f.BoolVarP(&o.files.Unbuffered, "packet-buffered", "U", false, "write each packet at once")
	return c
}

func (o *captureOptions) validate() error {
	if err := o.Validate(); err != nil {
		return err
	}
	if o.Write == "" && (o.size > 0 || o.every > 0 || o.files.Files > 0 || o.files.Command != "") {
		return flags.Usagef("-C, -G, -W and -z are about files: they need -w FILE")
	}
	if o.files.Files < 0 || o.files.Files > 0 && o.size == 0 && o.every == 0 && o.flight.megabytes == 0 {
		return flags.Usagef("-W %d: counts the files that -C, -G or --ring begins", o.files.Files)
	}
	const million = 1_000_000
	if o.size > math.MaxInt64/million || o.every > math.MaxInt64/uint64(time.Second) {
		return flags.Usagef("-C and -G: too large")
	}
	if err := o.flight.validate(o); err != nil {
		return err
	}
	if o.size > 0 || o.every > 0 || o.flight.megabytes > 0 {
		if err := o.LaterFile(); err != nil {
			return err
		}
	}
	o.files.Size, o.files.Every = int64(o.size*million), time.Duration(o.every)*time.Second
	return nil
}

func (o *captureOptions) run(ctx context.Context, args []string, s replay.Streams) error {
	expr, err := flags.ParseFilter(args)
	if err != nil {
		return err
	}
	if o.snap == 0 || o.snap > maxSnap {
		o.snap = maxSnap
	}
	if o.Ring == 0 {
		o.Ring = captureRing
	}
	v := live.View{View: replay.View{Kinds: []event.Kind{event.KindFrame}, Stages: []stage.Stage{stage.NewNames()}}}
	done := func() error { return nil }
	save := live.Save{Files: o.files, Limit: o.Count}
	if o.flight.megabytes > 0 {
		var stop func()
		save.Flight, stop = o.flight.recorder()
		defer stop()
		if v, done, err = o.flight.watch(o.Flags, save.Flight.Trigger); err != nil {
			return err
		}
	}
	v.Tap = &live.Tap{Devices: o.devices, Snap: o.snap}
	v.Filter, v.Save = expr, &save
	return errors.Join(live.Run(ctx, o.Flags, v, s), done())
}

// captureRing is the size of the ring, bytes: room for what comes while a file is written.
const captureRing = 32 << 20
