// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
	"ktrace/tracer/fsync"
	"ktrace/tracer/netns"
	"ktrace/tracer/node"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
)

// diagnoseFor is the default of --duration.
const diagnoseFor = 15 * time.Second

// newDiagnose is the verb that watches everything for a while and reports what is wrong.
func newDiagnose(s replay.Streams) *cobra.Command {
	var (
		f       flags.Flags
		watched diagnosis
		certain bool
	)
	c := &cobra.Command{
		Use:   "diagnose [flags] [FILTER]",
		Short: "all of it for a while, ranked root causes",
		Long: `Watches packets, drops, translations, DNS, resets, and the syncs of etcd's log and its like, for --duration, and says
what is wrong, worst first, at the end; on a terminal also at once what is certain, and with --until-certain that is the
end. The exit status is 3 if anything above information was found and is not over; --fail-on critical leaves out warnings.`,
		RunE: func(c *cobra.Command, args []string) error {
			if f.FailOn == "" {
				f.FailOn = string(event.Warning)
			}
			if f.Duration == 0 {
				f.Duration = diagnoseFor
			}
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := flags.ParsePathFilter(args)
			if err != nil {
				return err
			}
			watched.ask = watched.ask || !watched.given() && attended(s.Err)
			v, done, err := watched.live(f, expr == nil) // else it is about packets
			if err != nil {
				return err
			}
			v.Filter, v.Certain = expr, certain
			return errors.Join(live.Run(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	watched.add(c.Flags())
	c.Flags().BoolVar(&certain, "until-certain", false, "end as soon as something above information is certain")
	return c
}

// diagnosis is what a live node is watched for to find any cause, for all verbs that wait for one.
type diagnosis struct {
	cidr string
	slow time.Duration
	ask  bool // servers for their certificates
	// given reports whether the flag says so: then the node's servers and the control plane's are asked, too; nil for not.
	given func() bool
	// window is the time whose syncs are judged by themselves; 0: those of the whole run.
	window time.Duration
}

// attended reports whether a person runs ktrace and looks on, as none does from cron or in a pod.
func attended(w io.Writer) bool { return replay.IsTerminal(os.Stdin) && replay.IsTerminal(w) }

func (d *diagnosis) add(fs *pflag.FlagSet) {
	addServiceRange(fs, &d.cidr)
	addSlow(fs, &d.slow)
	const name = "ask-certificates"
	fs.BoolVar(&d.ask, name, false, "shake hands with a server that a client refused, once a minute, where TLS 1.3 hid its certificate; without it "+
		"diagnose does so on a terminal only, and never with the node's own servers, link-local ones and the control plane's")
	d.given = func() bool { return fs.Changed(name) }
}

// live is every stage and rule, and all that they want to know; done lets go of it.
func (d *diagnosis) live(f flags.Flags, disks bool) (v live.View, done func() error, err error) {
	known, err := serviceRange(d.cidr)
	if err != nil {
		return v, nil, err
	}
	seen, syncs := diagnoseView(d.slow, d.window)
	v.View = seen
	certificates := node.NewCertificates(node.New(netns.NewFinder(procfs.New(f.HostRoot))), d.given != nil && d.given())
	if d.ask {
		v.Witnesses = append(v.Witnesses, certificates)
	}
	v, node := live.WatchNode(known(live.WatchFlows(v, f.HostRoot)), f.HostRoot)
	done = func() error { return errors.Join(node(), certificates.Close()) }
	v.Probes = []string{probe.Path, probe.Sock, probe.Flow, probe.Netfilter, probe.TLS, probe.DNS}
	v.Optional = append(v.Optional, probe.TLS, probe.DNS)
	v.Path.Snap = 512 // a DNS message
	v.Path.MostPerSecond = 64
	v.Globals = append(v.Globals, probe.DNSPorts{dnsPort})
	if disks {
		v, err = alsoSyncs(v, f, syncs)
	}
	if err != nil {
		err = errors.Join(err, done())
	}
	return v, done, err
}

// alsoSyncs has a view watch the syncs on all disks, as far as the kernel allows; without them the rest is of use.
func alsoSyncs(v live.View, f flags.Flags, stage *stage.Fsync) (live.View, error) {
	watched, err := fsync.New(fsync.Options{
		PID: f.PID, Node: procfs.New(f.HostRoot), Limit: syncLimit, ByNetns: f.Netns != "" || f.PID != 0,
	})
	if errors.Is(err, fsync.ErrNoDisk) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Optional = append(v.Optional, probe.Fsync)
	return v.With(live.WatchSyncs(watched, stage, f.HostRoot, syncLimit)), nil
}
