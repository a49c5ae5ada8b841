// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
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

// counted are the kernel's counts of three groups that are read beside others.
func counted(seen, filtered, ring uint64, final bool) event.Counts {
	c := event.Counts{Final: final}
	c.OfKind(event.KindCgroup, event.Counts{Seen: seen, Filtered: filtered, Lost: event.Losses{Ring: ring}})
	c.OfKind("", event.Counts{Seen: 2, Lost: event.Losses{Map: 2}})
	return c
}

// TestAccountsAddUpOrAreAnError: what is seen is what the kernel counted, so that what is lost without being counted shows.
func TestAccountsAddUpOrAreAnError(t *testing.T) {
	for _, tt := range []struct {
		name          string
		counts        event.Counts
		seen, missing int64
	}{
		{"all is accounted for", counted(10, 4, 3, true), 12, 0},
		{"the kernel counted one more", counted(11, 4, 3, true), 13, 1},
		{"a record came twice", counted(9, 4, 3, true), 11, -1},
		{"a record is counted as lost that came", counted(10, 4, 4, true), 12, -1},
		{"the kernel counts on", counted(20, 4, 3, false), 12, 0},
		{"the kernel's counts are of all kinds together", event.Counts{Seen: 99, Lost: event.Losses{Ring: 3, Map: 2, Userspace: 1}}, 9, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := &sheet{}
			p := Pipeline{
				Source:  &script{[]event.Event{at(1, "/a"), at(2, "/b"), at(4, "/a")}, tt.counts},
				Wanted:  cgroups,
				Keep:    func(e event.Event) bool { return e.Body.(event.Cgroup).Path == "/a" },
				Printer: out,
			}
			err := p.Run(context.Background())
			var wrong event.MismatchError
			if errors.As(err, &wrong) != (tt.missing != 0) || (err != nil) != (tt.missing != 0) {
				t.Errorf("error %v", err)
			}
			s := out.summary
			if int64(s.Seen) != tt.seen || s.Accounts[len(s.Accounts)-1].Missing != tt.missing || s.Shown != 2 || s.Duration != 3*time.Second || !out.closed {
				t.Errorf("summary %+v, closed %v", s, out.closed)
			}
		})
	}
}

// uncounted is a stage that makes a DNS event of each event, and says that it made more.
type uncounted struct{ made uint64 }

func (u *uncounted) Observe(e event.Event) []event.Event {
	u.made++
	return []event.Event{e, {Header: e.Header, Body: event.DNS{}}}
}
func (u *uncounted) Flush(time.Time, bool) []event.Event { return nil }
func (u *uncounted) Summarize(s *event.Summary)          { s.DNS = &event.DNSSummary{Queries: u.made + 1} }

// TestWhatAStageMadeIsAccountedForInItsOwnUnit: one query more than was shown is none of the records.
func TestWhatAStageMadeIsAccountedForInItsOwnUnit(t *testing.T) {
	out := &sheet{}
	p := Pipeline{
		Source: &script{events: []event.Event{at(1, "/a"), at(2, "/b")}}, Stages: []stage.Stage{&uncounted{}},
		Wanted: func(k event.Kind) bool { return k == event.KindDNS }, Printer: out,
	}
	if err := p.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "dns queries: 3 seen = 2 shown + 0 filtered + 0 lost") {
		t.Errorf("error %v", err)
	}
	want := event.Accounting{{Kind: event.KindCgroup, Unit: "records", Seen: 2, Filtered: 2}, {Kind: event.KindDNS, Unit: "queries", Seen: 3, Shown: 2, Own: true, Missing: 1}}
	if !reflect.DeepEqual(out.summary.Accounts, want) {
		t.Errorf("accounts %v, want %v", out.summary.Accounts, want)
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
