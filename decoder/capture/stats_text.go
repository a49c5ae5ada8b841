// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// Lines are the statistics for people.
func (t *Stats) Lines() []string {
	lines := []string{fmt.Sprintf("%d packets read, %d matched, %d bytes on the wire", t.Read, t.Matched, t.Bytes)}
	if first, last, ok := t.Span(); ok {
		lines = append(lines, fmt.Sprintf("from %s to %s, %.3f s", first.Format(event.NanosecondTime), last.Format(event.NanosecondTime), last.Sub(first).Seconds()))
	}
	for _, s := range t.Sections {
		if s != (SectionStats{}) {
			lines = append(lines, strings.Join(strings.Fields(fmt.Sprintf("captured by %s %s %s", cmp.Or(s.Application, "an unnamed program"), on(s.Hardware), on(s.OS))), " "))
		}
	}
	for _, i := range t.Interfaces {
		lines = append(lines, i.line())
	}
	for _, p := range t.Pods {
		lines = append(lines, fmt.Sprintf("%-40s %10d packets %14d bytes", "pod or service "+p.Name, p.Packets, p.Bytes))
	}
	for _, v := range slices.Sorted(maps.Keys(t.Verdicts)) {
		lines = append(lines, fmt.Sprintf("%-40s %10d packets", "verdict "+v, t.Verdicts[v]))
	}
	for _, n := range t.Names {
		lines = append(lines, fmt.Sprintf("%-40v is %s", n.Address, n.Name))
	}
	return append(lines, t.trouble()...)
}

func on(what string) string {
	if what == "" {
		return ""
	}
	return "on " + what
}

func (s *InterfaceStats) line() string {
	line := fmt.Sprintf("%-40s %10d packets %14d bytes", s.Name, s.Packets, s.Bytes)
	if c := s.Counted; c != nil && c.Received != nil {
		line += fmt.Sprintf(" %10d received", *c.Received)
	}
	if !s.reported {
		return line + ", drop count not reported"
	}
	return line + fmt.Sprintf(" %10d lost", max(s.Counted.lost(), s.Between))
}

// trouble is what should be none.
func (t *Stats) trouble() []string {
	var lines []string
	for _, n := range []struct {
		count uint64
		what  string
	}{{t.Lost, "lost while capturing"}, {t.Same, "left out as seen before"}, {t.Disorder, "older than the one before"}, {t.Malformed, "not understood"}} {
		if n.count > 0 {
			lines = append(lines, fmt.Sprintf("%d packets %s", n.count, n.what))
		}
	}
	if t.LeftOut > 0 {
		lines = append(lines, "too many sections, interfaces, pods, verdicts and names to list them all")
	}
	return lines
}
