// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// script is a Source that plays events.
type script struct {
	events []event.Event
	counts event.Counts
}

func (s *script) Next(context.Context) (event.Event, error) {
	if len(s.events) == 0 {
		return event.Event{}, io.EOF
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, nil
}

func (s *script) Counts() event.Counts { return s.counts }
func (s *script) Node() event.Node     { return event.Node{} }

// sheet is a Printer that remembers.
type sheet struct {
	events   []event.Event
	findings []event.Finding
	summary  event.Summary
	fail     error
	closed   bool
}

func (s *sheet) Event(e event.Event) error       { s.events = append(s.events, e); return s.fail }
func (s *sheet) Finding(f event.Finding) error   { s.findings = append(s.findings, f); return nil }
func (s *sheet) Summary(sum event.Summary) error { s.summary = sum; return nil }
func (s *sheet) Close() error                    { s.closed = true; return nil }

// oneEach is a Rule that finds something about every event: by its path.
type oneEach struct{}

func (oneEach) Observe(e event.Event) []event.Finding {
	c, ok := e.Body.(event.Cgroup)
	if !ok {
		return nil
	}
	severity := event.Warning
	if c.Path == "/bad" {
		severity = event.Critical
	}
	return []event.Finding{{ID: "x", Subject: c.Path, Severity: severity, First: e.Time, Last: e.Time}}
}
func (oneEach) Flush(time.Time, bool) []event.Finding { return nil }

func at(second int64, path string) event.Event {
	return event.Event{Header: event.Header{Time: time.Unix(second, 0)}, Body: event.Cgroup{Path: path}}
}

func cgroups(k event.Kind) bool { return k == event.KindCgroup }

func TestBooksBalance(t *testing.T) {
	out := &sheet{}
	p := Pipeline{
		Source:  &script{[]event.Event{at(1, "/a"), at(2, "/b"), at(4, "/a")}, event.Counts{Lost: event.Losses{Ring: 3, Map: 2, Userspace: 1}}},
		Wanted:  cgroups,
		Keep:    func(e event.Event) bool { return e.Body.(event.Cgroup).Path == "/a" },
		Printer: out,
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := out.summary
	if s.Seen != 9 || s.Shown != 2 || s.Filtered != 1 || s.Lost.Total() != 6 || s.Duration != 3*time.Second {
		t.Errorf("summary %+v", s)
	}
	if !out.closed {
		t.Error("printer not closed")
	}
}

func TestOneCauseIsFoundOnceAndCounted(t *testing.T) {
	out := &sheet{}
	p := Pipeline{Source: &script{events: []event.Event{at(1, "/a"), at(2, "/a"), at(3, "/bad")}}, Rules: []stage.Rule{oneEach{}}, Wanted: cgroups, Printer: out}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(out.findings) != 2 {
		t.Fatalf("%d findings, want one a cause", len(out.findings))
	}
	want := []event.Tally{{ID: "x", Subject: "/a", Count: 2, Hits: []event.Hit{}}, {ID: "x", Subject: "/bad", Count: 1, Hits: []event.Hit{}}}
	if !reflect.DeepEqual(out.summary.Findings, want) {
		t.Errorf("tallies %v, want %v", out.summary.Findings, want)
	}
}

func TestHeldFindingsComeWorstFirst(t *testing.T) {
	out := &sheet{}
	p := Pipeline{Source: &script{events: []event.Event{at(1, "/a"), at(2, "/bad")}}, Rules: []stage.Rule{oneEach{}}, Wanted: cgroups, Printer: out, Hold: true}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(out.findings) != 2 || out.findings[0].Subject != "/bad" {
		t.Errorf("findings %+v", out.findings)
	}
}

func TestCountEndsTheRun(t *testing.T) {
	out := &sheet{}
	p := Pipeline{Source: &script{events: []event.Event{at(1, "/a"), at(2, "/b"), at(3, "/c")}}, Wanted: cgroups, Printer: out, Count: 2}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(out.events) != 2 || out.summary.Shown != 2 {
		t.Errorf("%d events shown, summary %+v", len(out.events), out.summary)
	}
}

// hoarder is a Stage that keeps all events to the end.
type hoarder struct{ held []event.Event }

func (h *hoarder) Observe(e event.Event) []event.Event {
	h.held = append(h.held, e)
	return nil
}

func (h *hoarder) Flush(_ time.Time, final bool) []event.Event {
	if !final {
		return nil
	}
	return h.held
}

// TestCountHoldsForWhatStagesKept: no more is shown than was asked for, which is no failure, and the rules see all.
func TestCountHoldsForWhatStagesKept(t *testing.T) {
	out := &sheet{}
	p := Pipeline{
		Source: &script{events: []event.Event{at(1, "/a"), at(2, "/b"), at(3, "/c")}}, Stages: []stage.Stage{&hoarder{}}, Rules: []stage.Rule{oneEach{}},
		Wanted: cgroups, Printer: out, Count: 1,
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s := out.summary; len(out.events) != 1 || s.Shown != 1 || s.Filtered != 2 || s.Seen != 3 || len(out.findings) != 3 {
		t.Errorf("%d events shown, %d findings, summary %+v", len(out.events), len(out.findings), s)
	}
}

func TestPrinterErrorEndsTheRunButNotTheSummary(t *testing.T) {
	full := errors.New("disk full")
	out := &sheet{fail: full}
	p := Pipeline{Source: &script{events: []event.Event{at(1, "/a"), at(2, "/b")}}, Wanted: cgroups, Printer: out}
	if err := p.Run(context.Background()); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if out.summary.Shown != 1 || !out.closed {
		t.Errorf("summary %+v", out.summary)
	}
}
