// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/testdata/lab"
)

// TestEveryFindingIsWantedByATest looks through the tests of the rules and of the verbs, and what recordings print, for
// places that want a finding by its id: one that no test produces may be said wrongly, or never.
func TestEveryFindingIsWantedByATest(t *testing.T) {
	wanted := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "../../decoder/diagnose/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool { return wants(n, wanted) })
		}
	}
	for _, l := range goldenFindings(t) {
		wanted[l.ID] = true
	}
	for _, id := range diagnose.IDs() {
		if !wanted[id] {
			t.Errorf("no test wants %s", id)
		}
	}
}

// wants notes the words of a node of a test's syntax, and reports whether to look within: a finding that a test makes up itself is
// none that it wants.
func wants(n ast.Node, wanted map[string]bool) bool {
	switch n := n.(type) {
	case *ast.CompositeLit:
		if s, ok := n.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Finding" {
			return false
		}
	case *ast.BinaryExpr:
		if n.Op == token.EQL { // as in "if this is found it is wrong"
			return false
		}
	case *ast.BasicLit:
		if n.Kind == token.STRING {
			text, _ := strconv.Unquote(n.Value)
			wanted[text] = true
		}
	}
	return true
}

// goldenFindings are those that recordings print.
func goldenFindings(t *testing.T) []lab.Line {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(golden, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(golden, err)
	}
	var lines []lab.Line
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for raw := range bytes.Lines(b) {
			l := lab.Line{Raw: raw}
			if err := json.Unmarshal(raw, &l); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, l)
		}
	}
	return lab.Findings(lines)
}

func TestFindingsOfRecordingsAreInTheTable(t *testing.T) { lab.InTable(t, goldenFindings(t)) }

// TestShellCompletesTriggersFromTheTable wants every finding, with what it means.
func TestShellCompletesTriggersFromTheTable(t *testing.T) {
	var out bytes.Buffer
	root := newRoot(replay.Streams{Out: &out, Err: &out})
	root.SetArgs([]string{"__complete", "capture", "--trigger", ""})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for _, r := range diagnose.Rows() {
		if want := "finding:" + r.ID + "\t" + r.Meaning; !slices.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
