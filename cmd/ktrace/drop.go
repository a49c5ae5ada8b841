package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
	"ktrace/tracer"
	"ktrace/tracer/netns"
	"ktrace/tracer/node"
)

// dropFlags are those of the verb alone.
type dropFlags struct{ all, summary bool }

func (f *dropFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "also show packets that are freed as drops though nothing is lost")
	fs.BoolVar(&f.summary, "summary", false, "no single drops: count them by cause, pod and place")
}

// newDrop is the verb that shows packets which the kernel threw away.
func newDrop(s cli.Streams) *cobra.Command {
	var (
		f   cli.Flags
		own dropFlags
	)
	c := &cobra.Command{
		Use:   "drop [flags] [FILTER]",
		Short: "packets that the kernel dropped: why, where, whose",
		Long: `Shows every packet that the kernel drops: its reason, the function and place, what its sender was told, and, where
it can be known, the firewall rule. Packets that are freed as drops without being a loss (consumed by a socket's own
filter, for other hosts, multicast that nobody joined, what a closed socket had not read) are counted as filtered;
--all shows them.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := cli.ParsePathFilter(args)
			if err != nil {
				return err
			}
			v, done := watchNode(watchVerdicts(watchDrops(own.view()), tracer.HookUntranslated), f.HostRoot)
			v.Filter = expr
			return errors.Join(cli.Live(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	f.AddDevices(c.Flags())
	own.add(c.Flags())
	return c
}

// view is what live and recorded drops are seen by.
func (f *dropFlags) view() cli.View {
	facts := diagnose.NewFacts()
	v := cli.View{
		Quiet:  f.summary,
		Kinds:  []decoder.Kind{decoder.KindDrop},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops()},
		Rules:  []decoder.Rule{facts, diagnose.NewDrops(facts), decoder.NewDropTotals()},
	}
	if !f.all {
		v.Keep = isLoss
	}
	return v
}

// isLoss reports whether an event is anything but a drop that lost nothing.
func isLoss(e decoder.Event) bool {
	d, ok := e.Body.(decoder.Drop)
	return !ok || d.Noise == ""
}

// watchDrops adds to a view what it asks the kernel for: all drops, and the packets that tell senders of them.
func watchDrops(v cli.View) cli.View {
	const snap = 128 // of an ICMP error the headers of what it is about
	v.Probes = []string{"path"}
	v.Globals = tracer.PathFilter{Protocols: tracer.TCP | tracer.UDP | tracer.ICMP | tracer.Other, Snap: snap}.Globals()
	v.Globals["hop_protocols"] = uint32(tracer.TCP | tracer.ICMP)
	v.Globals["hop_tcp_flags"] = uint32(tracer.FlagRST)
	return v
}

// watchVerdicts adds to a view what netfilter says itself, but for what is unwanted.
func watchVerdicts(v cli.View, unwanted ...string) cli.View {
	return v.With(cli.View{Probes: []string{"netfilter"}, Optional: []string{"netfilter"}, Unwanted: unwanted})
}

// watchNode adds to a view who says what its events refer to; done lets go of it.
func watchNode(v cli.View, root string) (_ cli.View, done func() error) {
	w, symbols := node.NewWitness(node.New(root)), tracer.NewSymbols()
	return v.With(cli.View{
		Witnesses: []decoder.Witness{tracer.NewDevices(root), symbols, w},
		Begin: func() ([]decoder.Fact, error) {
			home, err := netns.Inode("/proc/self/ns/net")
			return w.Begin(home), err
		},
		Poll: func(tracer.Maps) ([]decoder.Fact, error) { return w.Poll(), nil },
	}), func() error { return errors.Join(w.Close(), symbols.Close()) }
}
