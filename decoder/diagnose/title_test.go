// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ktrace/testdata/wording"
)

// TestTitlesAreSentences goes over all titles in the rules' source: no test needs to meet each finding.
func TestTitlesAreSentences(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files, seen := token.NewFileSet(), 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, title := range titlesIn(n) {
				seen++
				if err := wording.Title(title); err != nil {
					t.Errorf("%v: %q: %v", files.Position(n.Pos()), title, err)
				}
			}
			return true
		})
	}
	if seen < 100 {
		t.Errorf("only %d titles found", seen)
	}
}

// titlesIn are the titles that a node of the syntax has: of a finding, of a meaning, or as the result of a function that
// makes them. A value that is put into one is written as an address.
func titlesIn(n ast.Node) (all []string) {
	add := func(x ast.Expr) {
		if call, ok := x.(*ast.CallExpr); ok && len(call.Args) > 0 {
			x = call.Args[0]
		}
		if text := string(lineOf(x)); text != "" {
			all = append(all, regexp.MustCompile(`%%|%[a-z]|\{\w+\}`).ReplaceAllString(text, "10.0.0.1"))
		}
	}
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if strings.EqualFold(nameOf(n.Key), "title") {
			add(n.Value)
		}
	case *ast.AssignStmt:
		for i, x := range n.Lhs {
			if strings.EqualFold(nameOf(x), "title") && len(n.Lhs) == len(n.Rhs) {
				add(n.Rhs[i])
			}
		}
	case *ast.FuncDecl:
		if n.Name.Name == "title" {
			ast.Inspect(n, func(n ast.Node) bool {
				if r, ok := n.(*ast.ReturnStmt); ok {
					add(r.Results[0])
				}
				return true
			})
		}
	}
	return all
}
