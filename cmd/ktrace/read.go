// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/heap"
	"ktrace/cmd/internal/outfile"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
)

// recordedView is a verb's view over a file instead of a live node.
type recordedView struct {
	name string
	// declare adds the verb's own flags, as far as they are about the view and not about what is traced. What it returns makes
	// the view once they are parsed.
	declare func(*pflag.FlagSet) func() (replay.View, error)
	devices bool           // its events happen at devices
	failOn  event.Severity // default of --fail-on; "" is none
}

// recordedViews has a row for every verb that can read a file.
func recordedViews() []recordedView {
	return []recordedView{
		{name: "dns", declare: func(fs *pflag.FlagSet) func() (replay.View, error) {
			var f dnsFlags
			f.add(fs)
			return func() (replay.View, error) { return f.view(), f.validate() }
		}},
		{name: "drop", declare: func(fs *pflag.FlagSet) func() (replay.View, error) {
			var f dropFlags
			f.add(fs)
			return func() (replay.View, error) { return f.view(), nil }
		}, devices: true},
		{name: "nat", declare: func(fs *pflag.FlagSet) func() (replay.View, error) {
			var f natFlags
			f.add(fs)
			return func() (replay.View, error) { return f.view(), nil }
		}, devices: true},
		{name: "mtu", declare: func(*pflag.FlagSet) func() (replay.View, error) {
			return func() (replay.View, error) { return mtuView(), nil }
		}, devices: true},
		{name: "diagnose", declare: func(fs *pflag.FlagSet) func() (replay.View, error) {
			var slow time.Duration
			addSlow(fs, &slow)
			return func() (replay.View, error) {
				v, _ := diagnoseView(slow, 0)
				return v, nil
			}
		}, failOn: event.Warning},
		{name: "reset", declare: func(*pflag.FlagSet) func() (replay.View, error) {
			return func() (replay.View, error) { return resetView(), nil }
		}},
		{name: "flows", declare: func(fs *pflag.FlagSet) func() (replay.View, error) {
			var f flowsFlags
			f.add(fs)
			return func() (replay.View, error) { return f.view(0), f.validate() }
		}},
		{name: "fsync", declare: func(fs *pflag.FlagSet) func() (replay.View, error) {
			var o fsyncOptions
			o.addView(fs)
			return func() (replay.View, error) {
				v, _ := fsyncView(o)
				return v, o.validateView()
			}
		}},
	}
}

// newRead is the verb that runs the other verbs' views over files.
func newRead(s replay.Streams) *cobra.Command {
	names := make([]string, 0, len(recordedViews()))
	for _, v := range recordedViews() {
		names = append(names, v.name)
	}
	return &cobra.Command{
		Use:   "read FILE... [VIEW] [flags] [FILTER]",
		Short: "the same views over a capture or a recording, no privileges needed",
		Long: fmt.Sprintf(`Runs the verbs' views over files, and finds in what ktrace wrote (-w, --record) the same as on the live node.
Captures of others, pcapng and pcap, plain or in gzip, go the same way, as far as packets alone show it.

VIEW is one of: %s. Without one the packets are shown, counted (--stats) or copied (-w). FILTER is an
expression as tcpdump takes it. Several files are put in order of time. FILE may be -, standard input.
"ktrace read FILE VIEW --help" lists the flags.`, strings.Join(names, ", ")),
		DisableFlagParsing: true, // the view declares the flags
		RunE: func(c *cobra.Command, args []string) error {
			files, rest := splitFiles(args, names)
			switch {
			case len(files) == 0 && (slices.Contains(args, "--help") || slices.Contains(args, "-h")):
				return c.Help()
			case len(files) == 0:
				return flags.Usagef("want a file; see \"%s --help\"", c.CommandPath())
			case len(rest) > 0 && slices.Contains(names, rest[0]):
				return readAs(c.Context(), files, rest, s)
			}
			return readPackets(c.Context(), files, rest, s)
		},
	}
}

// splitFiles takes the leading arguments that are files: the first in any case, so that a wrong name is an error, then
// those that are there, up to a flag or a view.
func splitFiles(args, views []string) (files, rest []string) {
	for i, a := range args {
		_, err := os.Stat(a)
		if a != "-" && (strings.HasPrefix(a, "-") || i > 0 && (err != nil || slices.Contains(views, a))) {
			return args[:i], args[i:]
		}
	}
	return args, []string{} // nil would have cobra parse the command line again
}

// readAs runs a view over a file: args are its name and flags.
func readAs(ctx context.Context, files, args []string, s replay.Streams) error {
	views := recordedViews()
	v := views[slices.IndexFunc(views, func(v recordedView) bool { return v.name == args[0] })]
	var f flags.Flags
	c := &cobra.Command{
		Use:           "ktrace read FILE... " + v.name + " [FILTER]",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.SetOut(s.Out)
	c.SetErr(s.Err)
	c.SetArgs(args[1:])
	c.SetFlagErrorFunc(readFlagError(v.name + " "))
	f.Add(c.Flags())
	f.AddNetns(c.Flags())
	if v.devices {
		f.AddDevices(c.Flags())
	}
	view := v.declare(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		f.FailOn = cmp.Or(f.FailOn, string(v.failOn))
		if err := f.Validate(); err != nil {
			return err
		}
		expr, err := flags.ParseFilter(args)
		if err != nil {
			return err
		}
		filtered := func() (replay.View, error) {
			v, err := view()
			v.Filter = expr
			return v, err
		}
		return withFiles(files, "", s, func(in inputs, s replay.Streams) error {
			return replay.Replay(c.Context(), f, filtered, s, in.files...)
		})
	}
	return c.ExecuteContext(ctx)
}

// readFlagError adds to an error where the flags of a view, or of none, are documented.
func readFlagError(view string) func(*cobra.Command, error) error {
	return func(_ *cobra.Command, err error) error {
		return flags.Usagef("%v; see \"ktrace read FILE %s--help\"", err, view)
	}
}

// inputs are files that are open to be read.
type inputs struct {
	files []capture.File
	guard *outfile.Guard // knows them, so that none is written
	live  bool           // more may come at any time
}

// withFiles opens files. Standard output must be none of them.
//
// A file is read as fast as it goes, and what is made of it is thrown away at once: collecting that garbage less often
// than is good for a tracer that shares its node saves a third of the time, for some tens of megabytes.
//
// For the same reason output is collected, unless an input is a pipe: from there something may come at any time.
func withFiles(names []string, write string, s replay.Streams, do func(inputs, replay.Streams) error) error {
	const garbage = 300 // percent of what is in use
	defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	defer heap.Limit(heap.File)()
	in := inputs{guard: &outfile.Guard{}}
	for i, name := range names {
		file := os.Stdin
		if name == "-" && slices.Contains(names[:i], name) {
			return flags.Usagef("standard input can be read once: want - once")
		}
		if name != "-" {
			var err error
			if file, err = os.Open(name); err != nil {
				return err
			}
			defer file.Close() // was only read
		}
		if err := in.guard.Reads("the input "+name, file); err != nil {
			return err
		}
		in.files, in.live = append(in.files, capture.File{Name: name, Reader: file}), in.live || !isRegular(file)
	}
	if err := replay.GuardStdout(in.guard, write, s); err != nil {
		return err
	}
	out := bufio.NewWriterSize(s.Out, 64<<10)
	if !in.live {
		s.Out = out
	}
	return errors.Join(do(in, s), out.Flush())
}

func isRegular(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}
