// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrace/tracer/probe"
)

const root = "../../.."

// declared are the tests of a package.
func declared(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				all[f.Name.Name] = true
			}
		}
	}
	return all
}

func TestEveryListedTestExistsOnce(t *testing.T) {
	have, listed := map[string]map[string]bool{}, map[string]bool{}
	for _, g := range groups() {
		if have[g.pkg] == nil {
			have[g.pkg] = declared(t, g.pkg)
		}
		for _, test := range g.tests {
			if !have[g.pkg][test.name] {
				t.Errorf("%s has no %s", g.pkg, test.name)
			}
			if id := g.pkg + " " + test.name; listed[id] {
				t.Errorf("%s is listed twice", id)
			} else {
				listed[id] = true
			}
		}
	}
}

func TestEveryListedPackageHasTests(t *testing.T) {
	for _, w := range wholePackages() {
		dir, _ := strings.CutSuffix(w.pkg, "/...")
		if len(declared(t, dir)) == 0 {
			t.Errorf("%s has no tests", w.pkg)
		}
	}
}

// A verb's test runs with each lower variant of each probe.
func TestEveryProbeWithVariantsIsListed(t *testing.T) {
	for _, p := range probe.All() {
		for _, h := range p.Hooks {
			if len(h.Variants) > 1 && testsOfProbe(p.Name) == "" {
				t.Errorf("no test runs with the variants of %s, %s: %v", p.Name, h.Name, h.Variants)
			}
		}
	}
}

func TestRunsAreSelected(t *testing.T) {
	for args, want := range map[string]string{
		"packages ci":         "./tracer ./cmd/ktrace",
		"packages core":       "./tracer ./cmd/ktrace ./tracer/filterjit ./tracer/netns ./tracer/node ./tracer/... ./testdata/lab",
		"tests core tracer":   everyTest,
		"tests core tracer/x": everyTest,
		"tests core other":    everyTest,
		"probe sock":          "^(TestResetScenarios)$",
	} {
		if got, ok := answer(strings.Fields(args), false); got != want || !ok {
			t.Errorf("%s: %q, %v, want %q", args, got, ok, want)
		}
	}
	for _, c := range []struct {
		run    string
		spared bool
		test   string
		want   bool
	}{
		{"ci", false, "TestDNSNamesTheCause", true},
		{"ci", false, "TestResetScenarios", false},
		{"core", false, "TestResetScenarios", true},
		{"core", false, "TestVerbNamesTheRemedy", true},
		{"core", true, "TestVerbNamesTheRemedy", false},
		{"core", true, "TestDoctorReportsDropReasonsWhereTheyAre", true},
		{"all", false, "TestMTUFindsHoles", true},
	} {
		got, ok := answer([]string{"tests", c.run, verbs}, c.spared)
		if !ok || slices.Contains(strings.FieldsFunc(got, func(r rune) bool { return strings.ContainsRune("^(|)$", r) }), c.test) != c.want {
			t.Errorf("%s, spared %v: %s selected %v, want %v", c.run, c.spared, c.test, !c.want, c.want)
		}
	}
	for _, args := range []string{"", "packages", "packages some", "tests ci", "probe", "tests some tracer"} {
		if got, ok := answer(strings.Fields(args), false); ok {
			t.Errorf("%q is taken: %q", args, got)
		}
	}
}
