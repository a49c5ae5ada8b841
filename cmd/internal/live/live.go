// SPDX-License-Identifier: Apache-2.0

// Package live runs views on this node: it loads the view's probes, adds the node's facts, writes the files of the flags, and
// passes the events to the pipeline that replay has for files, too.
package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/heap"
	"ktrace/cmd/internal/outfile"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/tracer"
	"ktrace/tracer/kube"
	"ktrace/tracer/procfs"
	"ktrace/tracer/tap"
)

// Run runs a view on this node until the context ends.
func Run(ctx context.Context, f flags.Flags, v View, s replay.Streams) (err error) {
	defer heap.Limit(heap.Live + v.Save.memory())()
	if err := tracer.CheckVariant(f.Variant); err != nil {
		return flags.Usagef("--variant: %v", err)
	}
	if err := v.privileged(s); err != nil {
		return err
	}
	if f.Ring == 0 {
		f.Ring = heap.Ring()
	}
	selector, err := replay.Selector(f)
	if err != nil {
		return err
	}
	for _, pattern := range absent(f) { // it may come yet
		s.Say(fmt.Sprintf("no device of the node is named %s now; \"ip -brief link\" lists those of a namespace", pattern))
	}
	where, err := kubeOptions(f)
	if err != nil {
		return err
	}
	where.Selector, where.Say = selector, s.Say
	watcher, err := kube.NewWatcher(where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	return v.withPods(watcher).trace(ctx, f, selector, watcher, s)
}

// trace attaches what the view needs and shows what comes, until the context or --duration ends.
func (v View) trace(ctx context.Context, f flags.Flags, selector pod.Selector, watcher *kube.Watcher, s replay.Streams) (err error) {
	tap.Sweep(procfs.New(f.HostRoot), watcher.Home(), s.Say)
	attach, err := v.tapped(ctx, f, selector, watcher, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, attach.Close()) }()
	sift, err := v.sift()
	if err != nil {
		return err
	}
	t, err := v.open(tracer.Options{
		Probes:    v.Probes,
		Unwanted:  v.Unwanted,
		Optional:  v.Optional,
		Variant:   f.Variant,
		BTF:       f.BTF,
		RingBytes: f.Ring,
		Globals:   v.globals(),
		Shared:    kube.SelectionMaps(),
		Attach:    attach.tracer(),
		Prepare:   v.Prepare,
		Begin:     v.Begin,
		Poll:      v.Poll,
		Iterate:   v.Iterate,
	}, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if f.Duration > 0 { // of tracing: what it took to attach is not the user's time
		defer time.AfterFunc(f.Duration, stop).Stop()
	}
	s.Out = outfile.Until(ctx.Done(), s.Out)
	out, err := v.outputs(ctx, f, t, stop, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	stream := &decoder.Stream{Frames: out.saved.frames(t), Enrichers: out.saved.notices(v.Witnesses, s), Recorder: out.recorder(), Filter: sift,
		Partial: out.saved.drains()}
	v.confine(f, watcher, s)
	if err := announce(f, t, out.guard, s); err != nil {
		return err
	}
	p, to := v.Pipeline(f, selector), out.saved.streams(s).Out
	p.Source, p.Printer = stream, replay.Printer(f, v.Quiet, false, to)
	if v.Clear {
		p.Printer = replay.InPlace(p.Printer, to)
	}
	for _, w := range v.Witnesses {
		if x, ok := w.(event.Summarizer); ok {
			p.Beside = append(p.Beside, x)
		}
	}
	p.Early = f.Output != "json" && replay.IsTerminal(to)
	if err := p.Run(ctx); err != nil {
		return err
	}
	return f.Judge(p.Findings())
}

// announce creates the file of --ready-file, now that everything is attached, and with -v prints how.
func announce(f flags.Flags, t *tracer.Tracer, guard *outfile.Guard, s replay.Streams) error {
	if f.Verbose {
		printVariants(s.Err, t.Hooks())
	}
	if f.ReadyFile == "" {
		return nil
	}
	file, err := guard.Create("--ready-file", f.ReadyFile)
	if err != nil {
		return err
	}
	return file.Close()
}

// printVariants prints which variant serves each hook, and what is missing where none does.
func printVariants(w io.Writer, taken []tracer.HookStatus) {
	for _, t := range taken {
		if t.Variant == nil {
			fmt.Fprintf(w, "ktrace: %s: %s: not on this kernel; without it, %s\n", t.Probe, t.Hook.Name, t.Hook.Without)
			continue
		}
		fmt.Fprintf(w, "ktrace: %s: %s: %s\n", t.Probe, t.Hook.Name, t.Variant.Name)
	}
}
