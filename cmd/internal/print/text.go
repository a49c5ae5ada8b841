// SPDX-License-Identifier: Apache-2.0

package print

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"ktrace/decoder/event"
	"ktrace/decoder/printable"
)

// Text writes a line an event, for people.
type Text struct {
	w      io.Writer
	o      TextOptions
	headed event.Kind // whose columns the last header line named
}

// TextOptions say how lines look.
type TextOptions struct {
	Wide     bool // date, node, namespace and packet too
	Nodes    bool // the node of each line and finding
	NoHeader bool
	Colour   bool
	Layers   bool // below a whole packet, each of its layers
}

// NewText returns a printer of text on w.
func NewText(w io.Writer, o TextOptions) *Text { return &Text{w: w, o: o} }

type cell struct {
	heading string
	width   int
	text    string
}

// Event implements decoder.Printer.
func (t *Text) Event(e event.Event) error {
	cells := append(t.lead(e), bodyCells(e)...)
	var b strings.Builder
	if kind := e.Body.Kind(); !t.o.NoHeader && t.headed != kind {
		t.headed = kind
		writeCells(&b, cells, func(c cell) string { return c.heading })
	}
	writeCells(&b, cells, func(c cell) string { return c.text })
	if l, ok := e.Body.(event.Layered); ok && t.o.Layers {
		for _, line := range l.Lines() {
			b.WriteString("    " + printable.Text(line) + "\n")
		}
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// lead is what every line begins with.
func (t *Text) lead(e event.Event) []cell {
	clock := "15:04:05.000000"
	if t.o.Wide {
		clock = "2006-01-02T15:04:05.000000000Z"
	}
	cells := []cell{{"TIME", len(clock), e.Time.UTC().Format(clock)}}
	if t.o.Wide || t.o.Nodes {
		cells = append(cells, cell{"NODE", 16, orDash(e.Node)})
	}
	if t.o.Wide {
		where := fmt.Sprintf("%s@%d", e.Iface, e.Netns)
		cells = append(cells, cell{"IFACE", 20, strings.TrimPrefix(where, "@")})
	}
	pod := cell{"POD", 20, orDash(podName(e.Pod))}
	if _, ok := e.Body.(event.Frame); ok { // a device does not know the process of a frame
		return append(cells, pod, cell{"PEER", 20, orDash(podName(e.Peer))})
	}
	process := ""
	if e.PID != 0 {
		process = e.Process().String()
	}
	return append(cells, pod, cell{"PROCESS", 14, orDash(process)})
}

func podName(p event.Pod) string {
	if name := p.String(); p.Container != "" && name != "" {
		return name + "/" + p.Container
	}
	return p.String()
}

func bodyCells(e event.Event) []cell {
	table, ok := e.Body.(event.Tabular)
	if !ok {
		return []cell{{"EVENT", 0, e.Body.Summary()}}
	}
	row := table.Row(e)
	cells := make([]cell, 0, len(row))
	for i, c := range table.Columns() {
		cells = append(cells, cell{c.Heading, c.Width, orDash(row[i])})
	}
	return cells
}

func writeCells(b *strings.Builder, cells []cell, text func(cell) string) {
	var line strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&line, "%-*s ", c.width, printable.Text(text(c)))
	}
	b.WriteString(strings.TrimRight(line.String(), " "))
	b.WriteByte('\n')
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Finding implements decoder.Printer.
func (t *Text) Finding(f event.Finding) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", t.paint(f.Severity, strings.ToUpper(string(f.Severity))+" "+printable.Text(f.ID)+":"), printable.Text(f.Title))
	if t.o.Nodes {
		writeField(&b, "node", f.Node)
		writeField(&b, "file", f.File)
	}
	if !f.Over.IsZero() {
		why := "the same works again"
		if f.Ended {
			why = "the pod has ended"
		}
		writeField(&b, "over", "since "+f.Over.UTC().Format("15:04:05")+": "+why)
	}
	if f.Reported {
		writeField(&b, "hits", event.Victims(f.Hits, f.Unnamed))
		writeField(&b, "confidence", confidence(f))
	} else {
		writeGrounds(&b, f)
	}
	t.headed = "" // the next event's header helps after a block of text
	_, err := io.WriteString(t.w, b.String())
	return err
}

// writeGrounds writes what a finding rests on, whom it hits and what to do.
func writeGrounds(b *strings.Builder, f event.Finding) {
	writeField(b, "cause", f.Cause)
	writeField(b, "pod", podName(f.Pod))
	writeField(b, "peer", podName(f.Peer))
	writeField(b, "subject", f.Subject)
	writeField(b, "hits", event.Victims(f.Hits, f.Unnamed))
	for _, e := range f.Evidence {
		writeField(b, "evidence", e)
	}
	for _, r := range f.Remedy {
		name := "remedy"
		if r.Run == "" {
			name = "do"
		}
		writeField(b, name, r.String())
	}
	writeField(b, "confidence", confidence(f))
}

// confidence is what a finding rests on and how often it was found.
func confidence(f event.Finding) string {
	const clock = "15:04:05.000"
	seen := fmt.Sprintf("%s, %d times since %s", f.Confidence, f.Count, f.First.UTC().Format(clock))
	if f.Count <= 1 {
		seen = fmt.Sprintf("%s, seen at %s", f.Confidence, f.First.UTC().Format(clock))
	}
	if f.Early {
		seen += ", so far"
	}
	return seen
}

func writeField(b *strings.Builder, name, text string) {
	if text != "" {
		fmt.Fprintf(b, "  %-10s %s\n", name, printable.Text(text))
	}
}

func (t *Text) paint(s event.Severity, text string) string {
	colours := map[event.Severity]string{event.Critical: "\x1b[1;31m", event.Warning: "\x1b[1;33m", event.Info: "\x1b[1;36m"}
	if !t.o.Colour {
		return text
	}
	return colours[s] + text + "\x1b[0m"
}

// Summary implements decoder.Printer.
func (t *Text) Summary(s event.Summary) error {
	var b strings.Builder
	writeParts(&b, s)
	for _, n := range s.Nodes {
		fmt.Fprintf(&b, "node %s, %s:\n", orDash(printable.Text(n.Node)), printable.Text(strings.Join(n.Files, ", ")))
		writeParts(&b, n.Summary)
		writeAccounting(&b, n.Summary)
	}
	if len(s.Findings) == 0 && s.Judged {
		fmt.Fprintf(&b, "no findings in %d records", s.Records)
		if lost := s.Lost.Total(); lost > 0 {
			fmt.Fprintf(&b, "; %d more were lost", lost)
		}
		b.WriteString("\n")
	}
	for _, f := range s.Findings {
		where := ""
		if t.o.Nodes {
			where = " on " + cmp.Or(f.Node, f.File)
		}
		fmt.Fprintf(&b, "found %s %d× (%s)%s\n", printable.Text(f.ID), f.Count, printable.Text(f.Subject), printable.Text(where))
		if victims := event.Victims(f.Hits, f.Unnamed); victims != "" {
			fmt.Fprintf(&b, "  hits %s\n", printable.Text(victims))
		}
	}
	writeAccounting(&b, s)
	_, err := io.WriteString(t.w, b.String())
	return err
}

// writeParts writes what views added to a summary.
func writeParts(b *strings.Builder, s event.Summary) {
	for _, part := range s.Parts() {
		for _, line := range part.Lines() {
			b.WriteString(printable.Text(strings.TrimRight(line, " ")) + "\n")
		}
	}
}

// writeAccounting writes what became of what was seen, by unit.
func writeAccounting(b *strings.Builder, s event.Summary) {
	units := s.Accounts.ByUnit()
	if len(units) == 0 {
		units = event.Accounting{{Unit: event.UnitRecord}}
	}
	for i, a := range units {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "%s: %v", printable.Text(a.Unit), a)
	}
	fmt.Fprintf(b, ", in %.1f s\n", s.Duration.Seconds())
	if err := s.Accounts.Err(); err != nil {
		fmt.Fprintf(b, "error: %s\n", printable.Text(err.Error()))
	}
	if l := s.Lost; l.Total() > 0 {
		fmt.Fprintf(b, "lost: %d ring full, %d map full or pair missed, %d not understood\n", l.Ring, l.Map, l.Userspace)
	}
	if len(s.Evicted) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(s.Evicted)) {
			all = append(all, fmt.Sprintf("%d %s", s.Evicted[name], name))
		}
		fmt.Fprintf(b, "evicted to bound memory: %s\n", printable.Text(strings.Join(all, ", ")))
	}
}

// Close implements decoder.Printer.
func (t *Text) Close() error { return nil }
