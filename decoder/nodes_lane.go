// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// Next implements Source; a lane is never asked for events.
func (l *lane) Next(context.Context) (event.Event, error) { return event.Event{}, io.EOF }

// Counts implements Source: those of the run, which go on from file to file.
func (l *lane) Counts() event.Counts {
	c := l.counts
	c.Kinds = maps.Clone(c.Kinds)
	for _, f := range l.from {
		if f.lanes[0] != l {
			continue
		}
		for kind, of := range f.source.Counts().ByKind() {
			c.OfKind(kind, event.Counts{Lost: event.Losses{Userspace: of.Lost.Userspace}})
		}
	}
	return c
}

// Node implements Source.
func (l *lane) Node() event.Node { return event.Node{Name: l.run.node, Wall: l.run.wall} }

// Event implements Printer.
func (l *lane) Event(e event.Event) error { return l.nodes.Printer.Event(e) }

// Finding implements Printer. What another run on the same node found is printed once.
func (l *lane) Finding(f event.Finding) error {
	f = l.labelled(f)
	if l.nodes.Hold || !l.nodes.printed.Add(f) && !f.Reported {
		return nil
	}
	return l.nodes.Printer.Finding(f)
}

// labelled is the finding with where it is from.
func (l *lane) labelled(f event.Finding) event.Finding {
	f.Node = l.run.node
	other := func(f *nodeFile) bool { return f.first.namesake(l.run) }
	if f.Node == "" && len(l.nodes.files) > 1 || slices.ContainsFunc(l.nodes.files, other) {
		f.File = l.from[0].name
	}
	return f
}

// Summary implements Printer. The last one is for the summary of all.
func (l *lane) Summary(s event.Summary) error {
	if l.ending {
		l.sum = s
		return nil
	}
	if len(l.nodes.lanes) > 1 {
		s = event.Summary{Nodes: []event.NodeSummary{l.part(s)}}
	}
	return l.nodes.Printer.Summary(s)
}

// Close implements Printer: the others may still print.
func (l *lane) Close() error { return nil }

// part is the summary as one of several.
func (l *lane) part(s event.Summary) event.NodeSummary {
	of := event.NodeSummary{Node: l.run.node, Summary: s}
	for _, f := range l.from {
		of.Files = append(of.Files, f.name)
	}
	return of
}

// finish closes all pipelines and prints what they found together.
func (n *Nodes) finish() error {
	var errs []error
	for _, l := range n.lanes {
		errs = append(errs, l.finish())
	}
	if n.Hold {
		for _, f := range event.Worst(n.Findings()) {
			errs = append(errs, n.Printer.Finding(f))
		}
	}
	return errors.Join(append(errs, n.Printer.Summary(n.summary()), n.Printer.Close())...)
}

// Findings returns every cause found, with its count. What several runs on one node saw at the same time counts once.
func (n *Nodes) Findings() []event.Finding {
	var all []event.Finding
	at := map[event.CauseKey]int{}
	for _, l := range n.lanes {
		for _, f := range l.Findings() {
			f = l.labelled(f)
			same, known := at[f.Key()]
			if !known {
				at[f.Key()] = len(all)
				all = append(all, f)
				continue
			}
			all[same] = all[same].Alongside(f)
		}
	}
	return all
}

// summary is that of all runs; where they are several, each has its own within.
func (n *Nodes) summary() event.Summary {
	if len(n.lanes) == 1 {
		return n.lanes[0].sum
	}
	var sum event.Summary
	first, last := n.span()
	sum.Duration = last.Sub(first)
	for _, l := range n.lanes {
		sum.Accounts = sum.Accounts.With(l.sum.Accounts)
		sum.Records += l.sum.Records
		sum.Judged = sum.Judged || l.sum.Judged
		for name, evicted := range l.sum.Evicted {
			sum.AddEvicted(name, evicted)
		}
		sum.Nodes = append(sum.Nodes, l.part(l.sum))
	}
	sum.Balance()
	for _, f := range n.Findings() {
		sum.Findings = append(sum.Findings, f.Tally())
	}
	return sum
}

// span is from the first to the last event of all.
func (n *Nodes) span() (first, last time.Time) {
	for _, l := range n.lanes {
		if first.IsZero() || l.first.Before(first) {
			first = l.first
		}
		if l.last.After(last) {
			last = l.last
		}
	}
	return first, last
}
