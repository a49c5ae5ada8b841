// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"strings"
	"time"

	"ktrace/decoder/fio"
)

// FsyncSummary is what a run has found of the syncs below a path.
type FsyncSummary struct {
	Paths     []string                       `json:"paths,omitempty"`
	Limit     time.Duration                  `json:"limit_ns"`
	Classes   map[FsyncClass]FsyncClassStats `json:"classes"`
	Slowest   []FsyncSlow                    `json:"slowest"`
	InFlight  []FsyncStuck                   `json:"in_flight"`
	Unwatched []string                       `json:"unwatched,omitempty"`

	histograms map[FsyncClass]fio.Histogram
}

// FsyncClassStats is what is known of all syncs of a class.
type FsyncClassStats struct {
	N           uint64            `json:"n"`
	Percentiles map[string]uint64 `json:"percentiles_ns"` // by fio's names: "99.00"
	Min         uint64            `json:"min_ns"`
	Max         uint64            `json:"max_ns"`
	Mean        float64           `json:"mean_ns"`
	Stddev      float64           `json:"stddev_ns"`
	OverLimit   uint64            `json:"over_limit"`
	OverStages  FsyncTimes        `json:"over_limit_stages,omitempty"` // where their time went, of all together
	Verdict     *fio.Verdict      `json:"verdict,omitempty"`           // nil where no rule applies to the class
}

// FsyncSlow is one of the slowest.
type FsyncSlow struct {
	Time    time.Time `json:"time"`
	Pod     Pod       `json:"pod,omitzero"`
	Process Process   `json:"process"`
	Fsync
}

// FsyncStuck is a sync that had not ended when the run did.
type FsyncStuck struct {
	Begun   time.Time     `json:"begun"`
	Age     time.Duration `json:"age_ns"`
	Pod     Pod           `json:"pod,omitzero"`
	Process Process       `json:"process"`
	Op      FsyncOp       `json:"op"`
	Class   FsyncClass    `json:"class"`
	Path    string        `json:"path,omitempty"`
}

// Judges reports whether a rule applies to a class: etcd's is about its log alone, so that others are judged only where
// the user named the limit.
func (s FsyncScope) Judges(class FsyncClass) bool { return class == FsyncWAL || s.Strict }

// Judge returns the verdict on a class, nil if no rule applies to it.
func (s FsyncScope) Judge(class FsyncClass, h fio.Histogram) *fio.Verdict {
	if h.N == 0 || !s.Judges(class) {
		return nil
	}
	v := fio.Judge(h.N, h.Over, s.Limit)
	return &v
}

func NewFsyncSummary(scope FsyncScope, counts FsyncCounts) *FsyncSummary {
	s := &FsyncSummary{
		Paths:      scope.Paths,
		Limit:      scope.Limit,
		Classes:    map[FsyncClass]FsyncClassStats{},
		Slowest:    []FsyncSlow{},
		InFlight:   []FsyncStuck{},
		Unwatched:  scope.Unwatched,
		histograms: counts.Histograms,
	}
	for class, h := range counts.Histograms {
		if h.N == 0 {
			continue
		}
		stats := FsyncClassStats{
			N: h.N, Min: h.Min, Max: h.Max, Mean: h.Mean(), Stddev: h.Stddev(), OverLimit: h.Over,
			Percentiles: map[string]uint64{}, Verdict: scope.Judge(class, h), OverStages: counts.Over[class].Stages,
		}
		ps := fio.Shown()
		for i, v := range h.Percentiles(ps) {
			stats.Percentiles[fmt.Sprintf("%.2f", ps[i])] = v
		}
		s.Classes[class] = stats
	}
	return s
}

func (s *FsyncSummary) Counted() uint64 {
	var n uint64
	for _, c := range s.Classes {
		n += c.N
	}
	return n
}

// Lines implements Report.
func (s *FsyncSummary) Lines() []string {
	var lines []string
	for _, class := range FsyncClasses() {
		lines = append(lines, s.classLines(class)...)
	}
	if len(lines) == 0 {
		lines = append(lines, "no sync was seen below "+s.where())
	}
	lines = append(lines, s.slowestLines()...)
	lines = append(lines, s.inFlightLines()...)
	for _, point := range s.Unwatched {
		lines = append(lines, fmt.Sprintf("%s was mounted while ktrace ran and is not watched: run it again", point))
	}
	return lines
}

func (s *FsyncSummary) where() string {
	if len(s.Paths) == 0 {
		return "any mount"
	}
	return strings.Join(s.Paths, ", ")
}

func (s *FsyncSummary) classLines(class FsyncClass) []string {
	stats, ok := s.Classes[class]
	if !ok {
		return nil
	}
	h := s.histograms[class]
	lines := append([]string{fmt.Sprintf("%s: %d syncs below %s", class, stats.N, s.where())}, h.Lines()...)
	if v := stats.Verdict; v != nil {
		lines = append(lines, fmt.Sprintf("    verdict: %s", v))
	}
	if len(stats.OverStages) > 0 {
		lines = append(lines, fmt.Sprintf("    over %v: %s", s.Limit, stats.OverStages))
	}
	return lines
}

func (s *FsyncSummary) slowestLines() []string {
	if len(s.Slowest) == 0 {
		return nil
	}
	lines := []string{
		fmt.Sprintf("slowest %d:", len(s.Slowest)),
		fmt.Sprintf("  %-15s %-10s %-14s %-15s %-5s %-20s %-20s %s", "TIME", "LATENCY", "MOSTLY", "OP", "CLASS", "PROCESS", "POD", "PATH"),
	}
	for _, f := range s.Slowest {
		row := f.Row(Event{})
		mostly := "-"
		if longest := f.Stages.Longest(); longest != "" {
			mostly = fmt.Sprintf("%s %.0f%%", longest, 100*f.Stages.Share(longest))
		}
		lines = append(lines, fmt.Sprintf("  %-15s %-10s %-14s %-15s %-5s %-20s %-20s %s",
			f.Time.UTC().Format("15:04:05.000000"), row[0], mostly, row[1], row[2], f.Process, podOrDash(f.Pod), row[3]))
	}
	return lines
}

func (s *FsyncSummary) inFlightLines() []string {
	if len(s.InFlight) == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("still in flight: %d", len(s.InFlight))}
	for _, f := range s.InFlight {
		lines = append(lines, fmt.Sprintf("  for %s: %s by %s, pod %s, %s",
			Brief(f.Age), f.Op, f.Process, podOrDash(f.Pod), f.Path))
	}
	return lines
}

func podOrDash(p Pod) string {
	if name := p.String(); name != "" {
		return name
	}
	return "-"
}
