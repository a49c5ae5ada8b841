package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/term"

	"ktrace/cmd/internal/outfile"
	"ktrace/cmd/internal/print"
	"ktrace/decoder"
	"ktrace/decoder/filter"
	"ktrace/decoder/pod"
	"ktrace/tracer"
	"ktrace/tracer/kube"
)

// View is what a verb adds to a run: what to load, how to join it, what to show.
type View struct {
	Probes  []string        // by name in the tracer's table
	Globals map[string]any  // const volatile variables of the objects
	Kinds   []decoder.Kind  // of events to show
	Early   []decoder.Stage // before pods are named
	Stages  []decoder.Stage
	Rules   []decoder.Rule
	Hold    bool                     // findings at the end, worst first; on a terminal also at once what is certain
	Certain bool                     // end when something above information is certain
	Every   time.Duration            // show the summary so far after so much time, again and again; 0 for the end alone
	Keep    func(decoder.Event) bool // what is worth showing and concluding from; nil: everything that is selected
	Quiet   bool                     // show no events: they are in the summary

	// Pods is told who knows the pod of a cgroup, before the first event: for what is no event and yet has one.
	Pods func(of func(cgroup uint64) decoder.Pod)

	Unwanted []string // hooks of the probes, by name, that are not needed
	Optional []string // probes that the view is of use without, should the kernel refuse them

	Tap    *Tap         // take whole packets at devices; nil for none
	Save   *Save        // how packets are saved, if -w does not say all
	Filter *filter.Expr // what packets must match; nil for all

	Prepare func(tracer.Maps) error // before any program runs
	// Witnesses tell what the events refer to, and are asked in turn. Live only.
	Witnesses []decoder.Witness
	Begin     func() ([]decoder.Fact, error)            // facts that the stream starts with
	Poll      func(tracer.Maps) ([]decoder.Fact, error) // every second and at the end
}

// Streams are where the output goes.
type Streams struct {
	Out io.Writer // events, findings, summary
	Err io.Writer // what is said beside
}

// say tells the user something beside the output.
func (s Streams) say(text string) { fmt.Fprintf(s.Err, "ktrace: %s\n", text) }

// Live runs a view on this node until the context ends.
func Live(ctx context.Context, f Flags, v View, s Streams) (err error) {
	needs := v.Probes
	if v.Tap != nil {
		needs = append(slices.Clone(needs), tracer.TapProbe)
	}
	if err := tracer.Privileged(needs...); err != nil {
		return err
	}
	selector, err := f.selector()
	if err != nil {
		return err
	}
	for _, pattern := range f.absent() { // it may come yet
		s.say(fmt.Sprintf("no device of the node is named %s now; \"ip -brief link\" lists those of a namespace", pattern))
	}
	where, err := f.kube()
	if err != nil {
		return err
	}
	where.Selector, where.Say = selector, s.say
	watcher, err := kube.NewWatcher(where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	return v.withPods(watcher).trace(ctx, f, selector, watcher, s)
}

// trace attaches what the view needs and shows what comes, until the context or --duration ends.
func (v View) trace(ctx context.Context, f Flags, selector pod.Selector, watcher *kube.Watcher, s Streams) (err error) {
	attach, err := v.tapped(f, selector, watcher, s)
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
		Globals:   v.Globals,
		Shared:    kube.SelectionMaps(),
		Attach:    attach.tracer(),
		Prepare:   v.Prepare,
		Begin:     v.Begin,
		Poll:      v.Poll,
	}, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, err := v.outputs(f, t, stop, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	stream := &decoder.Stream{Frames: out.saved.frames(t), Witnesses: v.Witnesses, Recorder: out.recorder(), Sift: sift}
	if err := announce(f, t, out.guard, s); err != nil {
		return err
	}
	if f.Duration > 0 { // of tracing: what it took to attach is not the user's time
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.Duration)
		defer cancel()
	}
	p, to := v.pipeline(f, selector), out.saved.streams(s).Out
	p.Source, p.Printer = stream, printer(f, v.Quiet, false, to)
	p.Early = f.Output != "json" && isTerminal(to)
	if err := p.Run(ctx); err != nil {
		return err
	}
	return f.judge(p.Findings())
}

// announce tells that everything is attached, and to whom it matters how.
func announce(f Flags, t *tracer.Tracer, guard *outfile.Guard, s Streams) error {
	if f.Verbose {
		explain(s.Err, t.Taken())
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

// pipeline is the one way from the stream to the user, but for its source and printer.
func (v View) pipeline(f Flags, selector pod.Selector) *decoder.Pipeline {
	pods := pod.NewIndex()
	if v.Pods != nil {
		v.Pods(pods.Of)
	}
	return &decoder.Pipeline{
		Stages: slices.Concat(v.Early, []decoder.Stage{pods}, v.Stages, []decoder.Stage{pods.Backends()}),
		Rules:  v.Rules,
		Wanted: func(k decoder.Kind) bool { return slices.Contains(v.Kinds, k) },
		Keep: func(e decoder.Event) bool {
			return pods.Selected(selector, e) && f.at(e) && (v.Keep == nil || v.Keep(e))
		},
		Count: f.Count,
		Hold:  v.Hold, Certain: v.Certain,
		Every: v.Every,
		Whose: pods.Whose,
	}
}

// judge is ErrFindings if any is as bad as --fail-on says.
func (f *Flags) judge(all []decoder.Finding) error {
	worst := decoder.Severity(f.FailOn)
	if worst != "" && slices.ContainsFunc(all, func(x decoder.Finding) bool { return x.Severity.AtLeast(worst) }) {
		return ErrFindings
	}
	return nil
}

// printer prints as the flags say. Where several files are read, it says which node each line is of.
func printer(f Flags, quiet, nodes bool, w io.Writer) decoder.Printer {
	var p decoder.Printer = print.NewText(w, print.TextOptions{Wide: f.Output == "wide", Nodes: nodes, NoHeader: f.NoHeader, Colour: coloured(w), Layers: f.Verbose})
	if f.Output == "json" {
		p = print.NewJSON(w)
	}
	if quiet {
		return withoutEvents{p}
	}
	return p
}

// withoutEvents leaves events to the summary.
type withoutEvents struct{ decoder.Printer }

// Event implements decoder.Printer.
func (withoutEvents) Event(decoder.Event) error { return nil }

// coloured follows https://no-color.org.
func coloured(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && isTerminal(w) }

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// explain says which variant serves each hook, and what is lost where none does.
func explain(w io.Writer, taken []tracer.Taken) {
	for _, t := range taken {
		if t.Variant == nil {
			fmt.Fprintf(w, "ktrace: %s: %s: not on this kernel; without it, %s\n", t.Probe, t.Hook.Name, t.Hook.Without)
			continue
		}
		fmt.Fprintf(w, "ktrace: %s: %s: %s\n", t.Probe, t.Hook.Name, t.Variant.Name)
	}
}
