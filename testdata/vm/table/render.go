// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// table is one column a kernel.
type table struct {
	strings.Builder
	kernels []kernel
}

func newTable(corner string, kernels []kernel) *table {
	t := &table{kernels: kernels}
	t.row(corner, kernel.title)
	t.row("---", func(kernel) string { return "---" })
	return t
}

func (t *table) row(first string, cell func(kernel) string) {
	t.WriteString("| " + first + " |")
	for _, k := range t.kernels {
		t.WriteString(" " + cell(k) + " |")
	}
	t.WriteByte('\n')
}

// verbs makes a row of each verb's tests. The verb is in the test's name: TestDNSNamesTheCause.
func verbs(kernels []kernel) string {
	t := newTable("verb", kernels)
	for _, verb := range []string{"dns", "drop", "reset", "nat", "mtu", "fsync", "capture", "diagnose", "doctor"} {
		t.row(verb, func(k kernel) string {
			return k.passed(func(o outcome) bool { return strings.HasPrefix(strings.ToLower(o.test), "test"+verb) })
		})
	}
	t.row("what they are made of", func(k kernel) string {
		return k.passed(func(o outcome) bool { return !strings.HasPrefix(o.run, "cmd-ktrace") })
	})
	return t.String()
}

// passed names the variants with which some tests pass: "best" of each hook, or one that was forced.
func (k kernel) passed(of func(outcome) bool) string {
	var order []string
	failed := map[string]bool{}
	for _, o := range k.tests {
		if !of(o) || o.status == "SKIP" {
			continue
		}
		with := "best"
		if _, v, forced := strings.Cut(o.run, " --variant "); forced {
			with = v
		}
		if !slices.Contains(order, with) {
			order = append(order, with)
		}
		failed[with] = failed[with] || o.status == "FAIL"
	}
	if len(order) == 0 {
		return "not run"
	}
	for i, with := range order {
		if failed[with] {
			order[i] = "**" + with + " fails**"
		}
	}
	return strings.Join(order, ", ")
}

// hooks makes a row of each hook: the variant that is taken.
func hooks(kernels []kernel) string {
	t := newTable("hook", kernels)
	for _, h := range kernels[0].lines {
		if h.Type != "hook" {
			continue
		}
		t.row(h.Probe+": "+h.Hook, func(k kernel) string {
			i := slices.IndexFunc(k.lines, func(l line) bool { return l.Probe == h.Probe && l.Hook == h.Hook })
			switch {
			case i < 0:
				return "?"
			case k.lines[i].Variant == "":
				return "–"
			}
			return k.lines[i].Variant
		})
	}
	return t.String()
}

// degraded lists what is worse, each sentence once, with the kernels.
func degraded(kernels []kernel) string {
	var g groups
	for _, k := range kernels {
		for _, l := range k.lines {
			switch {
			case l.Type == "hook" && l.Impact != "":
				g.add(l.Impact, l.Hook, k.title())
			case l.Type == "check" && !l.OK:
				g.add(l.Impact, l.Name, k.title())
			}
		}
		for _, o := range k.tests {
			if o.status == "SKIP" && o.because != "" && k.name != "host" && !k.elsewhere(o.test) { // a host may lack other things
				g.add(o.because, "not tested", k.title())
			}
		}
	}
	var b strings.Builder
	for _, sentence := range g.order {
		fmt.Fprintf(&b, "- %s (%s)\n", sentence, strings.Join(g.wheres(sentence, kernels), "; "))
	}
	return b.String()
}

// elsewhere reports whether a test passes in another part of the run.
func (k kernel) elsewhere(test string) bool {
	return slices.ContainsFunc(k.tests, func(o outcome) bool { return o.test == test && o.status == "PASS" })
}

// groups are sentences in the order of their first use, with their subjects and the kernels that they hold for.
type groups struct {
	order []string
	about map[string][]string            // by sentence
	of    map[string]map[string][]string // kernels, by sentence and subject
}

func (g *groups) add(sentence, about, title string) {
	if g.about == nil {
		g.about, g.of = map[string][]string{}, map[string]map[string][]string{}
	}
	if g.of[sentence] == nil {
		g.order = append(g.order, sentence)
		g.of[sentence] = map[string][]string{}
	}
	if g.of[sentence][about] == nil {
		g.about[sentence] = append(g.about[sentence], about)
	}
	if !slices.Contains(g.of[sentence][about], title) {
		g.of[sentence][about] = append(g.of[sentence][about], title)
	}
}

// wheres are "subject, subject: 5.10.0, 6.1.0", one for each set of kernels.
func (g *groups) wheres(sentence string, kernels []kernel) []string {
	var sets []string
	of := map[string][]string{}
	for _, about := range g.about[sentence] {
		set := strings.Join(g.of[sentence][about], ", ")
		if len(g.of[sentence][about]) == len(kernels) {
			set = "everywhere"
		}
		if of[set] == nil {
			sets = append(sets, set)
		}
		of[set] = append(of[set], about)
	}
	for i, set := range sets {
		sets[i] = strings.Join(of[set], ", ") + ": " + set
	}
	return sets
}
