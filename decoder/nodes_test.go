// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// begins is what the file of a run begins with.
func begins(node string, wall time.Duration) event.Event {
	return event.Event{Header: event.Header{Time: time.Unix(0, 0), Node: node}, Body: event.Fact{Node: &event.Node{Name: node, Wall: wall}}}
}

// stateful is a Rule that knows what its own run has said: it finds each path, with all before it.
type stateful struct{ paths []string }

func (r *stateful) Observe(e event.Event) []event.Finding {
	c, ok := e.Body.(event.Cgroup)
	if !ok {
		return nil
	}
	r.paths = append(r.paths, c.Path)
	return []event.Finding{{ID: "x", Subject: c.Path, Severity: event.Warning, First: e.Time, Last: e.Time, Evidence: slices.Clone(r.paths)}}
}
func (r *stateful) Flush(time.Time, bool) []event.Finding { return nil }

// read runs files, each a list of events, through pipelines with rules of their own.
func read(t *testing.T, n *Nodes, files ...[]event.Event) *sheet {
	t.Helper()
	out := &sheet{}
	n.Printer = out
	n.Pipeline = func() (*Pipeline, error) {
		return &Pipeline{Rules: []stage.Rule{&stateful{}}, Wanted: cgroups, Hold: n.Hold}, nil
	}
	for i, events := range files {
		n.Add(fmt.Sprintf("file%d", i), &script{events: events, counts: event.Counts{Lost: event.Losses{Userspace: 1}}})
	}
	if err := n.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return out
}

// knew is what each finding's rule knew, by where the finding is from.
func knew(findings []event.Finding) map[string][]string {
	all := map[string][]string{}
	for _, f := range findings {
		from := f.Node + f.File
		if n := len(f.Evidence); n > len(all[from]) {
			all[from] = f.Evidence
		}
	}
	return all
}

func TestNodesKnowNothingOfEachOther(t *testing.T) {
	for _, hold := range []bool{false, true} {
		out := read(t, &Nodes{Hold: hold},
			[]event.Event{begins("a", 1), at(10, "/a1"), at(30, "/same"), at(50, "/a3")},
			[]event.Event{begins("b", 2), at(20, "/b1"), at(40, "/same")})
		var order []string
		for _, e := range out.events {
			order = append(order, e.Body.(event.Cgroup).Path)
		}
		if want := []string{"/a1", "/b1", "/same", "/same", "/a3"}; !slices.Equal(order, want) {
			t.Errorf("events in order %v, want %v", order, want)
		}
		want := map[string][]string{"a": {"/a1", "/same", "/a3"}, "b": {"/b1", "/same"}}
		if got := knew(out.findings); !reflect.DeepEqual(got, want) || len(out.findings) != 5 {
			t.Errorf("hold %v: %d findings that rest on %v, want %v", hold, len(out.findings), got, want)
		}
		s := out.summary
		if s.Shown != 5 || s.Seen != 7 || s.Lost.Userspace != 2 || len(s.Findings) != 5 || s.Duration != 50*time.Second {
			t.Errorf("summary %+v", s)
		}
		if n := s.Nodes; len(n) != 2 || n[0].Node != "a" || n[0].Shown != 3 || n[1].Node != "b" || n[1].Shown != 2 || n[1].Files[0] != "file1" {
			t.Errorf("summaries of nodes %+v", n)
		}
	}
}

func TestAFileGoesOnWhereAnotherOfTheRunEnded(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second []event.Event
		want          map[string][]string
	}{
		{"rotated files", []event.Event{begins("a", 1), at(10, "/1"), at(20, "/2")}, []event.Event{begins("a", 1), at(20, "/3")},
			map[string][]string{"a": {"/1", "/2", "/3"}}},
		{"another run", []event.Event{begins("a", 1), at(10, "/1"), at(20, "/2")}, []event.Event{begins("a", 2), at(20, "/3")},
			map[string][]string{"a": {"/1", "/2"}}},
		{"at the same time", []event.Event{begins("a", 1), at(10, "/1"), at(20, "/2")}, []event.Event{begins("a", 1), at(15, "/3")},
			map[string][]string{"a": {"/1", "/2"}}},
		{"another boot", []event.Event{begins("a", 1), at(10, "/1")}, []event.Event{begins("a", 1+time.Minute), at(20, "/3")},
			map[string][]string{"afile0": {"/1"}, "afile1": {"/3"}}},
		{"of no node", []event.Event{begins("", 0), at(10, "/1")}, []event.Event{begins("", 0), at(20, "/3")},
			map[string][]string{"file0": {"/1", "/3"}}},
		{"of no node, an hour later", []event.Event{begins("", 0), at(10, "/1")}, []event.Event{begins("", 0), at(3600, "/3")},
			map[string][]string{"file0": {"/1"}, "file1": {"/3"}}},
	} {
		for _, files := range [][][]event.Event{{tt.first, tt.second}} {
			if got := knew(read(t, &Nodes{}, files...).findings); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: findings rest on %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}

// TestAFileOfSeveralRuns is one that mergecap made, or cat.
func TestAFileOfSeveralRuns(t *testing.T) {
	out := read(t, &Nodes{}, []event.Event{begins("a", 1), at(10, "/a1"), begins("b", 2), at(20, "/b1"), begins("a", 1), at(30, "/a2")})
	want := map[string][]string{"a": {"/a1", "/a2"}, "b": {"/b1"}}
	if got := knew(out.findings); !reflect.DeepEqual(got, want) {
		t.Errorf("findings rest on %v, want %v", got, want)
	}
	if n := out.summary.Nodes; len(n) != 2 || out.summary.Lost.Userspace != 1 {
		t.Errorf("summary %+v", out.summary)
	}
}

func TestWhatTwoRunsSawTogetherCountsOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start int64 // of the second file
		count uint64
	}{{"at the same time", 10, 3}, {"one after the other", 100, 5}} {
		out := read(t, &Nodes{Hold: true},
			[]event.Event{begins("a", 1), at(10, "/x"), at(20, "/x"), at(30, "/x")},
			[]event.Event{begins("a", 2), at(tt.start, "/x"), at(tt.start+5, "/x")})
		if len(out.findings) != 1 || out.findings[0].Count != tt.count || out.summary.Findings[0].Count != tt.count || out.findings[0].Node != "a" {
			t.Errorf("%s: findings %+v, want %d times", tt.name, out.findings, tt.count)
		}
	}
}

// TestOfWhatTwoRunsSayTheWorseIsSaid, and whether it is over says the one that met it last.
func TestOfWhatTwoRunsSayTheWorseIsSaid(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	found := func(first, last int64, severity event.Severity, count uint64, over int64) event.Finding {
		f := event.Finding{ID: "x", Severity: severity, Count: count, First: at(first), Last: at(last)}
		if over > 0 {
			f.Over = at(over)
		}
		return f
	}
	for _, tt := range []struct {
		name       string
		one, other event.Finding
		want       event.Finding
	}{
		{"more often, and less bad", found(10, 20, event.Critical, 3, 0), found(11, 19, event.Info, 9, 0), found(10, 20, event.Critical, 9, 0)},
		{"more often", found(10, 20, event.Warning, 3, 0), found(11, 21, event.Warning, 9, 0), found(10, 21, event.Warning, 9, 0)},
		{"one after the other", found(10, 20, event.Warning, 3, 0), found(30, 40, event.Critical, 9, 0), found(10, 40, event.Critical, 12, 0)},
		{"over, which one did not live to see", found(10, 20, event.Critical, 3, 0), found(10, 21, event.Info, 4, 30), found(10, 21, event.Info, 4, 30)},
		{"over, and then again", found(10, 20, event.Info, 3, 25), found(30, 40, event.Critical, 1, 0), found(10, 40, event.Critical, 4, 0)},
		{"over at last", found(10, 20, event.Critical, 3, 0), found(30, 40, event.Info, 1, 45), found(10, 40, event.Info, 4, 45)},
	} {
		for _, pair := range [][2]event.Finding{{tt.one, tt.other}, {tt.other, tt.one}} {
			if got := pair[0].Alongside(pair[1]); got.Severity != tt.want.Severity || got.Count != tt.want.Count ||
				!got.First.Equal(tt.want.First) || !got.Last.Equal(tt.want.Last) || !got.Over.Equal(tt.want.Over) {
				t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
			}
		}
	}
}

// TestNodesOfOneNameAreDistinguished: by their boots, and containers of one machine by their network namespaces.
func TestNodesOfOneNameAreDistinguished(t *testing.T) {
	of := func(wall time.Duration, boot string, netns uint32) runID { return runID{"a", wall, boot, netns} }
	for _, tt := range []struct {
		one, other runID
		want       bool
	}{
		{of(1, "b1", 1), of(2, "b1", 1), false},
		{of(1, "b1", 1), of(time.Hour, "b1", 1), false}, // the clock was set
		{of(1, "b1", 1), of(2, "b2", 1), true},
		{of(1, "b1", 1), of(2, "b1", 2), true},
		{of(1, "", 1), of(2, "b1", 1), false}, // an older ktrace did not say
		{of(1, "", 1), of(time.Hour, "", 1), true},
		{of(1, "b1", 1), runID{"b", 2, "b2", 1}, false},
	} {
		if got := tt.one.namesake(tt.other); got != tt.want || tt.other.namesake(tt.one) != tt.want {
			t.Errorf("%+v and %+v: %v, want %v", tt.one, tt.other, got, tt.want)
		}
	}
}

func TestCountIsOfAllFiles(t *testing.T) {
	out := read(t, &Nodes{Count: 3}, []event.Event{begins("a", 1), at(10, "/1"), at(30, "/3")}, []event.Event{begins("b", 2), at(20, "/2"), at(40, "/4")})
	if len(out.events) != 3 || out.summary.Shown != 3 {
		t.Errorf("%d events, summary %+v", len(out.events), out.summary)
	}
}

// damaged is a Source that ends with an error.
type damaged struct{ script }

func (s *damaged) Next(ctx context.Context) (event.Event, error) {
	if len(s.events) == 0 {
		return event.Event{}, errDamaged
	}
	return s.script.Next(ctx)
}

var errDamaged = errors.New("damaged")

func TestADamagedFileEndsNoOther(t *testing.T) {
	out := &sheet{}
	n := Nodes{Printer: out, Pipeline: func() (*Pipeline, error) { return &Pipeline{Wanted: cgroups}, nil }}
	n.Add("a", &damaged{script{events: []event.Event{begins("a", 1), at(10, "/1")}}})
	n.Add("b", &script{events: []event.Event{begins("b", 2), at(20, "/2"), at(30, "/3")}})
	if err := n.Run(context.Background()); !errors.Is(err, errDamaged) || len(out.events) != 3 || !out.closed {
		t.Errorf("error %v, %d events", err, len(out.events))
	}
}
