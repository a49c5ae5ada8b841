// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// options of a run.
type options struct {
	ktrace, json, text, against string
	loads, watchers             string
	rounds                      int
	duration                    time.Duration
}

// parse reads the options that follow "-args --".
func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.ktrace, "ktrace", "", "the `program` to measure; without it nothing is measured")
	f.StringVar(&o.json, "json", "", "write the tables to this `file`, as JSON")
	f.StringVar(&o.text, "markdown", "", "write the tables to this `file`, as Markdown")
	f.StringVar(&o.against, "against", "", "fail where a ratio is more than 15 % below that in this `file`")
	f.StringVar(&o.loads, "loads", "", "only these, separated by commas")
	f.StringVar(&o.watchers, "watchers", "", "only these and nothing, separated by commas")
	f.IntVar(&o.rounds, "rounds", 9, "times that each load runs with each watcher")
	f.DurationVar(&o.duration, "duration", time.Second, "of each load")
	return o, f.Parse(args)
}

// TestCost runs every load with every watcher.
func TestCost(t *testing.T) {
	opt, err := parse(flag.Args())
	if err != nil {
		t.Fatal(err)
	}
	if opt.ktrace == "" {
		t.Skip("no program to measure: make bench")
	}
	n := newNetwork(t)
	all := slices.DeleteFunc(watchers(n, opt.ktrace), func(w watcher) bool { return w.name != nothing && !among(opt.watchers, w.name) })
	rep := report{Machine: describe(t, opt.ktrace), Rounds: opt.rounds, Duration: opt.duration.String()}
	for _, l := range loads() {
		if !among(opt.loads, l.name) {
			continue
		}
		l.start(t, n)
		rep.Loads = append(rep.Loads, measure(t, n, &l, all, opt))
		t.Logf("\n%s", rep.Loads[len(rep.Loads)-1].markdown())
	}
	rep.write(t, opt.json, opt.text)
	if opt.against == "" {
		return
	}
	for _, worse := range rep.worse(t, read(t, opt.against)) {
		t.Error(worse)
	}
}

// among reports whether a list has the name, or is empty.
func among(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}

// sample is one run of a load beside a watcher.
type sample struct {
	rate
	usage
}

func measure(t *testing.T, n *network, l *load, all []watcher, opt options) table {
	samples := map[string][]sample{}
	for range opt.rounds {
		for _, w := range all {
			samples[w.name] = append(samples[w.name], runBeside(t, n, l, w, opt.duration))
		}
	}
	out := table{Load: l.name, Unit: l.unit}
	for _, w := range all {
		out.Rows = append(out.Rows, rowOf(w.name, samples))
	}
	stop := counting(t)
	defer stop()
	for i, w := range all {
		out.Rows[i].Hooks = countedBeside(t, n, l, w, opt.duration)
	}
	return out
}

func runBeside(t *testing.T, n *network, l *load, w watcher, d time.Duration) sample {
	beside := w.start(t)
	r, err := l.run(n, d)
	took := beside.stop(t)
	if err != nil {
		t.Fatalf("%s beside %s: %v", l.name, w.name, err)
	}
	return sample{r, took}
}

// countedBeside runs the load once more while the kernel measures the watcher's programs.
func countedBeside(t *testing.T, n *network, l *load, w watcher, d time.Duration) []hook {
	beside := w.start(t)
	_, err := l.run(n, d)
	hooks := hooksOf(t, beside.pid())
	beside.stop(t)
	if err != nil {
		t.Fatalf("%s beside %s: %v", l.name, w.name, err)
	}
	return hooks
}

// worse names each ratio that is more than 15 % below that of an earlier run.
func (r *report) worse(t *testing.T, before report) (all []string) {
	const tolerated = 0.85
	compared := 0
	for _, l := range r.Loads {
		for _, now := range l.Rows {
			was, ok := before.row(l.Load, now.Watcher)
			if !ok || now.Watcher == nothing {
				continue
			}
			compared++
			if now.OfEmpty < was.OfEmpty*tolerated {
				all = append(all, fmt.Sprintf("%s beside %s: %.2f of the rate beside an empty program, was %.2f", l.Load, now.Watcher, now.OfEmpty, was.OfEmpty))
			}
		}
	}
	if compared == 0 {
		t.Fatal("the earlier run has none of the loads and watchers that were measured")
	}
	return all
}

func read(t *testing.T, file string) (r report) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}
