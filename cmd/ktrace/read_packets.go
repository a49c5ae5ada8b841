// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/printable"
	"ktrace/decoder/record"
	"ktrace/decoder/stage"
)

// packetsOptions are the flags of read without a view.
type packetsOptions struct {
	flags.Flags
	stats bool
	dedup bool
}

// readPackets shows, counts or copies packets: args are flags and an expression.
func readPackets(ctx context.Context, files, args []string, s replay.Streams) error {
	var o packetsOptions
	c := &cobra.Command{
		Use:           "ktrace read FILE... [flags] [FILTER]",
		Short:         "the packets of captures",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			expr, err := flags.ParseFilter(args)
			if err != nil {
				return err
			}
			return withFiles(files, o.Write, s, func(in inputs, s replay.Streams) error { return o.run(c.Context(), expr, in, s) })
		},
	}
	c.SetOut(s.Out)
	c.SetErr(s.Err)
	c.SetArgs(args)
	c.SetFlagErrorFunc(readFlagError(""))
	f := c.Flags()
	o.AddPackets(f)
	f.StringVarP(&o.Write, "write", "w", "", "copy the packets to this pcapng file, with their annotations; - is standard output")
	f.BoolVar(&o.stats, "stats", false, "only count")
	f.BoolVar(&o.dedup, "dedup", false, "leave out packets that were seen at another device before")
	return c.ExecuteContext(ctx)
}

func (o *packetsOptions) run(ctx context.Context, expr *pcapfilter.Expr, in inputs, s replay.Streams) error {
	raw := in.anyRecording()
	const hint = "a recording (--record) is for views, as in \"ktrace read FILE dns\""
	if raw && (o.stats || o.Write != "") {
		return flags.Usagef(hint + ": it has no packets to count or copy")
	}
	if raw {
		fmt.Fprintln(s.Err, "ktrace: "+hint+"; without one, only the whole packets of \"ktrace capture\" are shown")
	}
	if !o.stats && o.Write == "" {
		if o.dedup {
			return flags.Usagef("--dedup goes with --stats or -w")
		}
		return replay.Replay(ctx, o.Flags, func() (replay.View, error) {
			return replay.View{Kinds: []event.Kind{event.KindFrame}, Stages: []stage.Stage{stage.NewNames()}, Filter: expr}, nil
		}, s, in.files...)
	}
	sub := capture.Subset{Filter: expr, Dedup: o.dedup, Limit: o.Count, Live: in.live, Cut: s.WarnCut}
	err := o.copy(&sub, in, s)
	if err != nil || !o.stats {
		return err
	}
	return o.printStats(sub.Stats, s)
}

// anyRecording reports whether any of the files is a recording of raw records. They read the same afterwards.
func (in *inputs) anyRecording() (any bool) {
	for i := range in.files {
		b := bufio.NewReader(in.files[i].Reader)
		head, _ := b.Peek(len(record.Magic)) // a file that is too short, or cannot be read, fails when it is read
		any = any || string(head) == record.Magic
		in.files[i].Reader = b
	}
	return any
}

// copy goes over the files, and writes the packets if that is wanted. A copy that fails leaves what was in the file
// before, and where there was nothing, what was copied.
func (o *packetsOptions) copy(sub *capture.Subset, in inputs, s replay.Streams) (err error) {
	switch o.Write {
	case "":
	case "-":
		sub.To = pcapng.NewWriter(s.Out, pcapng.WriterOptions{Subset: true})
	default:
		create := in.guard.Create
		if in.live {
			create = in.guard.CreateLive
		}
		file, err := create("-w", o.Write)
		if err != nil {
			return err
		}
		sub.To = pcapng.NewWriter(file, pcapng.WriterOptions{Subset: true})
		if err := errors.Join(sub.Run(in.files...), sub.To.Flush()); err != nil {
			return errors.Join(err, file.Discard())
		}
		return file.Close()
	}
	return sub.Run(in.files...)
}

// printStats prints the statistics, beside the packets if those go to standard output.
func (o *packetsOptions) printStats(stats capture.Stats, s replay.Streams) error {
	out := s.Out
	if o.Write == "-" {
		out = s.Err
	}
	if o.Output == "json" {
		return json.NewEncoder(printable.NewJSON(out)).Encode(statsLine(stats))
	}
	for _, line := range stats.Lines() {
		if _, err := fmt.Fprintln(out, printable.Text(line)); err != nil {
			return err
		}
	}
	return nil
}

// jsonStats is the statistics' line of JSON.
type jsonStats struct {
	V        int    `json:"v"`
	Type     string `json:"type"`
	First    string `json:"first,omitempty"`
	Last     string `json:"last,omitempty"`
	Duration int64  `json:"duration_ns"`
	capture.Stats
}

func statsLine(stats capture.Stats) jsonStats {
	line := jsonStats{V: event.Schema, Type: "stats", Stats: stats}
	if first, last, ok := stats.Span(); ok {
		line.First, line.Last = first.Format(event.NanosecondTime), last.Format(event.NanosecondTime)
		line.Duration = last.Sub(first).Nanoseconds()
	}
	return line
}
