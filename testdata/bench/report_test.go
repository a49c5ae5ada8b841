// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// report is what a run measured.
type report struct {
	Machine  machine `json:"machine"`
	Rounds   int     `json:"rounds"`
	Duration string  `json:"duration"` // of each load
	Loads    []table `json:"loads"`
}

type machine struct {
	Kernel  string `json:"kernel"`
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Ktrace  string `json:"ktrace"`
	Tcpdump string `json:"tcpdump"`
}

// table has one load.
type table struct {
	Load string `json:"load"`
	Unit string `json:"unit"`
	Rows []row  `json:"rows"`
}

// row is one watcher. Numbers are medians over the rounds, RSS the most.
type row struct {
	Watcher   string  `json:"watcher"`
	Rate      float64 `json:"rate"`
	OfNothing float64 `json:"of_nothing"` // the rate, as a share of that with nothing attached
	OfEmpty   float64 `json:"of_empty"`   // and of that with an empty program
	P99       int64   `json:"p99_ns"`     // of a request
	Failed    int     `json:"failed"`     // requests, of all rounds
	Attach    int64   `json:"attach_ns"`
	CPU       int64   `json:"cpu_ns"` // of the watcher, its start included
	RSS       int64   `json:"rss_bytes"`
	Hooks     []hook  `json:"hooks"`
}

func rowOf(name string, samples map[string][]sample) row {
	mine := samples[name]
	of := func(other string) float64 {
		var ratios []float64
		for i := range samples[other] {
			ratios = append(ratios, mine[i].perSecond/samples[other][i].perSecond)
		}
		return median(ratios)
	}
	r := row{Watcher: name, OfNothing: of(nothing), OfEmpty: of(empty),
		Rate:   median(each(mine, func(s sample) float64 { return s.perSecond })),
		P99:    int64(median(each(mine, func(s sample) float64 { return float64(s.p99) }))),
		Attach: int64(median(each(mine, func(s sample) float64 { return float64(s.attach) }))),
		CPU:    int64(median(each(mine, func(s sample) float64 { return float64(s.cpu) })))}
	for _, s := range mine {
		r.RSS = max(r.RSS, s.rss)
		r.Failed += s.failed
	}
	return r
}

func each(samples []sample, value func(sample) float64) (all []float64) {
	for _, s := range samples {
		all = append(all, value(s))
	}
	return all
}

// median of none is 0.
func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[len(all)/2] + all[(len(all)-1)/2]) / 2
}

func (r *report) row(load, watcher string) (row, bool) {
	for _, l := range r.Loads {
		for _, candidate := range l.Rows {
			if l.Load == load && candidate.Watcher == watcher {
				return candidate, true
			}
		}
	}
	return row{}, false
}

// counted is what the kernel takes to measure a program: the empty program's time.
func (l *table) counted() float64 {
	var all []float64
	for _, r := range l.Rows {
		for _, h := range r.Hooks {
			if h.Program == emptyName {
				all = append(all, h.NS)
			}
		}
	}
	return median(all)
}

func (l *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s, %s\n\n", l.Load, l.Unit)
	b.WriteString("| beside | rate | of nothing | of empty | p99 | attach | CPU | RSS | the dearest programs: runs, ns a run |\n|---|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for _, r := range l.Rows {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %.0f us | %d ms | %.2f s | %d MiB | %s |\n", r.Watcher, r.Rate, r.OfNothing, r.OfEmpty,
			float64(r.P99)/1e3, r.Attach/1e6, float64(r.CPU)/1e9, r.RSS>>20, dearest(r.Hooks, l.counted()))
	}
	return b.String()
}

// dearest are the three programs that took the most, without what counting took.
func dearest(hooks []hook, counted float64) string {
	var words []string
	for _, h := range hooks[:min(3, len(hooks))] {
		if h.Program != emptyName {
			words = append(words, fmt.Sprintf("%s %d, %.0f", h.Program, h.Runs, h.NS-counted))
		}
	}
	return strings.Join(words, "; ")
}

func (r *report) write(t *testing.T, asJSON, asText string) {
	if asJSON != "" {
		raw, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, asJSON, append(raw, '\n'))
	}
	if asText != "" {
		var b strings.Builder
		b.WriteString("# What ktrace costs the traffic that it watches\n\nMade by `make bench`; testdata/bench/doc.go says how. " +
			"Rates are to be compared with others of this run alone.\n\n")
		fmt.Fprintf(&b, "%s; Linux %s, %d × %s; %s; %d rounds of %s.\n\n", r.Machine.Ktrace, r.Machine.Kernel, r.Machine.CPUs, r.Machine.CPU,
			r.Machine.Tcpdump, r.Rounds, r.Duration)
		for _, l := range r.Loads {
			b.WriteString(l.markdown() + "\n")
		}
		writeFile(t, asText, []byte(b.String()))
	}
}

func writeFile(t *testing.T, name string, data []byte) {
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Error(err)
	}
}

func describe(t *testing.T, ktrace string) machine {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return machine{Kernel: unix.ByteSliceToString(u.Release[:]), CPU: cpuModel(), CPUs: runtime.NumCPU(),
		Ktrace: firstLine(t, ktrace, "version"), Tcpdump: firstLine(t, "tcpdump", "--version")}
}

func firstLine(t *testing.T, args ...string) string {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// cpuModel is what /proc/cpuinfo calls the CPU, the architecture where it does not.
func cpuModel() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// TestReportNamesWhatFell has two reports that differ in one ratio.
func TestReportNamesWhatFell(t *testing.T) {
	samples := map[string][]sample{}
	for _, of := range []struct {
		watcher string
		rates   []float64
	}{{nothing, []float64{10, 20, 40}}, {empty, []float64{10, 10, 20}}, {"diagnose", []float64{5, 10, 40}}} {
		for _, r := range of.rates {
			samples[of.watcher] = append(samples[of.watcher], sample{rate: rate{perSecond: r}})
		}
	}
	now := report{Loads: []table{{Load: "udp", Rows: []row{rowOf(nothing, samples), rowOf("diagnose", samples)}}}}
	if got := now.Loads[0].Rows[1]; got.OfNothing != 0.5 || got.OfEmpty != 1 || got.Rate != 10 {
		t.Errorf("ratios are not those of the same round: %+v", got)
	}
	for _, was := range []struct {
		ofEmpty float64
		want    int
	}{{1.1, 0}, {1.2, 1}} {
		before := report{Loads: []table{{Load: "udp", Rows: []row{{Watcher: "diagnose", OfEmpty: was.ofEmpty}}}}}
		if got := now.worse(t, before); len(got) != was.want {
			t.Errorf("of %.1f before: %q", was.ofEmpty, got)
		}
	}
}
