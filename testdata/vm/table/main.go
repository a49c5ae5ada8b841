// Command table writes into a README what the matrix found: which variant each kernel takes, and what that costs.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	begin = "<!-- kernels:begin -->"
	end   = "<!-- kernels:end -->"
)

func main() {
	update := flag.Bool("update", false, "rewrite the table in the file instead of printing it")
	pattern := flag.String("run", "", "the pattern that the tests' names had to match")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: table [-update] RESULTS README")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *pattern, *update); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(results, readme, pattern string, update bool) error {
	kernels, err := read(results)
	if err != nil {
		return err
	}
	tests, err := filepath.Glob(filepath.Join(results, "tests", "*.test"))
	if err != nil {
		return err
	}
	for i, t := range tests {
		tests[i] = strings.TrimSuffix(filepath.Base(t), ".test")
	}
	label := "live tests of " + strings.Join(tests, ", ")
	if pattern != "" {
		label += " that match " + strings.ReplaceAll(pattern, "|", "\\|")
	}
	table := render(kernels, label)
	if !update {
		_, err := fmt.Print(table)
		return err
	}
	old, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	from, to := bytes.Index(old, []byte(begin)), bytes.Index(old, []byte(end))
	if from < 0 || to < from {
		return fmt.Errorf("%s has no lines %s and %s", readme, begin, end)
	}
	text := string(old[:from]) + begin + "\n" + table + string(old[to:])
	return os.WriteFile(readme, []byte(text), 0o644)
}

// kernel is what the matrix found on one.
type kernel struct {
	name    string // as the matrix was told
	release string
	passed  bool // all live tests
	hooks   []hook
}

// hook is a line of ktrace doctor -o json.
type hook struct {
	Type     string
	Probe    string
	Hook     string
	Variant  string
	Costs    string
	Refusals []struct{ Variant, Error string }
}

func read(results string) ([]kernel, error) {
	statuses, err := filepath.Glob(filepath.Join(results, "*", "status"))
	if err != nil {
		return nil, err
	}
	var kernels []kernel
	for _, file := range statuses {
		k, err := readKernel(filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, k)
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("no results in %s", results)
	}
	slices.SortFunc(kernels, func(a, b kernel) int { return older(a.release, b.release) })
	return kernels, nil
}

func readKernel(dir string) (kernel, error) {
	k := kernel{name: filepath.Base(dir)}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return k, err
	}
	k.passed = strings.TrimSpace(string(status)) == "0"
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return k, err
	}
	k.release = strings.TrimSpace(string(release))
	doctor, err := os.Open(filepath.Join(dir, "doctor.json"))
	if err != nil {
		return k, err
	}
	defer doctor.Close()
	lines := json.NewDecoder(doctor)
	for {
		var h hook
		switch err := lines.Decode(&h); {
		case errors.Is(err, io.EOF):
			return k, nil
		case err != nil:
			return k, fmt.Errorf("%s: %w", doctor.Name(), err)
		case h.Type == "hook":
			k.hooks = append(k.hooks, h)
		}
	}
}

// older compares releases by their numbers.
func older(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }

func numbers(release string) []int {
	var all [3]int
	_, _ = fmt.Sscanf(release, "%d.%d.%d", &all[0], &all[1], &all[2]) // what is missing counts as 0
	return all[:]
}

// render makes one row a hook and one column a kernel, and below it says what is worse where.
func render(kernels []kernel, tests string) string {
	var b strings.Builder
	row := func(first string, cell func(kernel) string) {
		b.WriteString("| " + first + " |")
		for _, k := range kernels {
			b.WriteString(" " + cell(k) + " |")
		}
		b.WriteByte('\n')
	}
	row("hook", kernel.title)
	row("---", func(kernel) string { return "---" })
	for i, h := range kernels[0].hooks {
		row(h.Probe+": "+h.Hook, func(k kernel) string { return k.cell(i) })
	}
	row(tests, func(k kernel) string {
		if k.passed {
			return "pass"
		}
		return "**fail**"
	})
	b.WriteByte('\n')
	for _, k := range kernels {
		for _, h := range k.hooks {
			if h.Costs != "" {
				fmt.Fprintf(&b, "- %s, %s: %s\n", k.title(), h.Hook, h.Costs)
			}
		}
	}
	return b.String()
}

// title is the version, and whose kernel it is unless Debian's.
func (k kernel) title() string {
	version, _, _ := strings.Cut(k.release, "-")
	version, _, _ = strings.Cut(version, "+")
	if k.name == "host" {
		return version + " (another)"
	}
	return version
}

func (k kernel) cell(i int) string {
	switch {
	case i >= len(k.hooks):
		return "?"
	case k.hooks[i].Variant == "":
		return "–"
	}
	return k.hooks[i].Variant
}
