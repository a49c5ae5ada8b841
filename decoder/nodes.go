// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// Nodes reads several files in order of time. What a number means (of a device, a namespace, a control group, a journey),
// and what is so at a time (a pod's address, a rule, a histogram), is true of one node since it was booted, as one run of
// ktrace knows it. So each run has a pipeline of its own, and what they find is put together at the end. A file that goes
// on where another of the same run ended, as with rotated captures, goes through the same pipeline.
type Nodes struct {
	// Pipeline makes the pipeline of a run, without source and printer.
	Pipeline func() (*Pipeline, error)
	Printer  Printer
	Count    uint64 // end after so many shown events, 0 for no limit
	Hold     bool   // show findings at the end, worst first, instead of as they come

	files   []*nodeFile
	lanes   []*lane
	errs    []error // of files, which end with them
	printed event.Folder
	shown   uint64
}

// nodeFile is a file that is read.
type nodeFile struct {
	name   string
	source Source
	head   []event.Event // that are read and not yet taken; until the file has a lane, the facts that it begins with too
	ended  bool
	first  runID // that it begins with
	lane   *lane
	lanes  []*lane // that it had
}

// lane is one run on a node. It is the source and the printer of its pipeline.
type lane struct {
	*Pipeline
	nodes  *Nodes
	run    runID
	from   []*nodeFile
	counts event.Counts
	sum    event.Summary // of all, once nothing follows
}

// runID distinguishes runs of ktrace: no two have the same offset between the clocks, which is in nanoseconds.
type runID struct {
	node  string
	wall  time.Duration
	boot  string // "" if it is not known
	netns uint32
}

// sameBoot is by how much the offset between the clocks may change while a node runs.
const sameBoot = 10 * time.Second

// namesake reports whether the run is of another node with the same name, or of another boot. Nodes that are containers of
// one machine have its boot, and network namespaces of their own.
func (r runID) namesake(o runID) bool {
	if r.node != o.node {
		return false
	}
	if r.boot != "" && o.boot != "" {
		return r.boot != o.boot || r.netns != o.netns
	}
	return (r.wall - o.wall).Abs() > sameBoot
}

// nextFile is how long after the end of a capture that names no node another one may go on with it.
const nextFile = time.Minute

// maxHead and maxHeadSize bound what of a file is held until its first event: facts, and their bytes.
const (
	maxHead     = 1 << 14
	maxHeadSize = 16 << 20
)

// maxRuns is how many runs there may be: each has a pipeline of its own, of some tens of kilobytes if nothing happens in it.
const maxRuns = 512

// ErrTooManyRuns ends a file with more runs of ktrace than are read at a time.
var ErrTooManyRuns = fmt.Errorf("more than %d runs of ktrace: cut the file up, or read fewer", maxRuns)

// Add has a file be read.
func (n *Nodes) Add(name string, source Source) {
	n.files = append(n.files, &nodeFile{name: name, source: source})
}

// Run takes events until all files end, the context is cancelled or enough is shown, then prints the summary.
func (n *Nodes) Run(ctx context.Context) error {
	err := n.loop(ctx)
	if errors.Is(err, errEnough) || errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(append(n.errs, err, n.finish())...)
}

func (n *Nodes) loop(ctx context.Context) error {
	for _, f := range n.files {
		if err := n.fill(ctx, f); err != nil {
			return err
		}
	}
	for {
		f := n.earliest()
		if f == nil {
			return nil
		}
		if err := n.take(f); errors.Is(err, ErrTooManyRuns) {
			f.ended, f.head = true, nil
			n.errs = append(n.errs, fmt.Errorf("%s: %w", f.name, err))
			continue
		} else if err != nil {
			return err
		}
		if err := n.fill(ctx, f); err != nil {
			return err
		}
	}
}

// fill reads on in a file. One that cannot be read further ends there, and the others go on.
func (n *Nodes) fill(ctx context.Context, f *nodeFile) error {
	err := f.fill(ctx)
	if err != nil && ctx.Err() == nil {
		f.ended = true
		n.errs = append(n.errs, err)
		return nil
	}
	return err
}

// earliest is the file whose next event comes first; nil if all have ended.
func (n *Nodes) earliest() *nodeFile {
	var first *nodeFile
	for _, f := range n.files {
		if len(f.head) > 0 && (first == nil || f.next().Before(first.next())) {
			first = f
		}
	}
	return first
}

// fill reads the next event, and with a file's first all facts before it: they are of the time when the run began, which
// may be long before the file.
func (f *nodeFile) fill(ctx context.Context) error {
	clear(f.head) // or what it had would be held on to
	f.head = f.head[:0]
	size := 0
	for !f.ended {
		e, err := f.source.Next(ctx)
		if errors.Is(err, io.EOF) {
			f.ended = true
			return nil
		}
		if err != nil {
			return err
		}
		f.head = append(f.head, e)
		if run, ok := runOf(&e); ok && f.lane == nil {
			f.first = run
		}
		if f.lane != nil || e.Body.Kind() != event.KindFact || len(f.head) >= maxHead {
			return nil
		}
		if size += bounded.SizeOf(e.Body); size >= maxHeadSize {
			return nil
		}
	}
	return nil
}

// next is when the next event of the file happened.
func (f *nodeFile) next() time.Time { return f.head[len(f.head)-1].Time }

// take sends what is read of a file through the pipeline of its run.
func (n *Nodes) take(f *nodeFile) error {
	for i := range f.head {
		e := &f.head[i]
		if run, ok := runOf(e); f.lane == nil || ok && run != f.lane.run {
			if err := n.assign(f, run); err != nil {
				return err
			}
		}
		if fact, ok := e.Body.(event.Fact); ok && fact.Counts != nil {
			f.lane.counts = *fact.Counts
		}
		f.lane.observe(e)
		if err := f.lane.step(*e); err != nil {
			return err
		}
	}
	return nil
}

// runOf is the run that a fact begins.
func runOf(e *event.Event) (runID, bool) {
	f, ok := e.Body.(event.Fact)
	if !ok || f.Node == nil {
		return runID{}, false
	}
	return runID{f.Node.Name, f.Node.Wall, f.Node.Boot, f.Node.Netns}, true
}

// assign finds the pipeline for what comes next in a file: that of the same file's same run, or of another file of it
// that has ended before; else a new one.
func (n *Nodes) assign(f *nodeFile, run runID) error {
	f.lane = nil
	for _, l := range append(slices.Clone(f.lanes), n.lanes...) {
		if l.run == run && (slices.Contains(f.lanes, l) || l.endedBefore(f.next())) {
			f.lane = l
			break
		}
	}
	if f.lane == nil && len(n.lanes) >= maxRuns {
		return ErrTooManyRuns
	}
	if f.lane == nil {
		p, err := n.Pipeline()
		if err != nil {
			return err
		}
		f.lane = &lane{Pipeline: p, nodes: n, run: run}
		p.Source, p.Printer, p.Count, p.all = f.lane, f.lane, n.Count, &n.shown
		n.lanes = append(n.lanes, f.lane)
	}
	if !slices.Contains(f.lane.from, f) {
		f.lane.from = append(f.lane.from, f)
		f.lanes = append(f.lanes, f.lane)
	}
	return nil
}

// endedBefore reports whether nothing more comes of the files so far, and another may go on at a time.
func (l *lane) endedBefore(at time.Time) bool {
	for _, f := range l.from {
		if !f.ended || len(f.head) > 0 || f.lane != l {
			return false
		}
	}
	return !at.Before(l.last) && (l.run.node != "" || at.Sub(l.last) <= nextFile)
}
