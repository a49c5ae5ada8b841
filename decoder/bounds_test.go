// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryTableHasABound: whatever has a map, or a table of bounded, grows by traffic, names or files, unless docs/bounds.md
// says why it does not. Lists are too many to be found so: that of a struct belongs into its row.
func TestEveryTableHasABound(t *testing.T) {
	text, err := os.ReadFile("../docs/bounds.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z/]+\\.\\w+)` \\| ([^|]+) \\|").FindAllStringSubmatch(string(text), -1) { // [] behind a name: a list
		for _, field := range strings.Fields(row[2]) {
			said[row[1]+"."+strings.TrimRight(field, ",")] = true
		}
	}
	found := tables(t)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !said[name] {
			t.Errorf("%s: docs/bounds.md does not have its bound", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if !found[name] && !strings.HasSuffix(name, "[]") {
			t.Errorf("docs/bounds.md has %s, which is no table", name)
		}
	}
}

// tables are the fields of structs that are maps or tables, as package.Struct.field.
func tables(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, root := range []string{"../decoder", "../tracer", "../cmd/internal"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			in := strings.TrimPrefix(path.Dir(filepath.ToSlash(name)), "../")
			if in == "decoder/bounded" || strings.HasSuffix(in, "test") { // they are the tables
				return nil
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					for _, field := range tablesOf(spec) {
						found[fmt.Sprintf("%s.%s.%s", in, spec.Name, field)] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// tablesOf are the fields of a struct that are tables. Those that JSON has are values, which are not added to.
func tablesOf(spec *ast.TypeSpec) (names []string) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return nil
	}
	for _, field := range s.Fields.List {
		if !isTable(field.Type) || field.Tag != nil {
			continue
		}
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
		if len(field.Names) == 0 {
			names = append(names, "embedded")
		}
	}
	return names
}

func isTable(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.MapType:
		return true
	case *ast.StarExpr:
		return isTable(e.X)
	case *ast.ArrayType:
		return isTable(e.Elt)
	case *ast.IndexExpr:
		return isTable(e.X)
	case *ast.IndexListExpr:
		return isTable(e.X)
	case *ast.SelectorExpr:
		of, ok := e.X.(*ast.Ident)
		return ok && of.Name == "bounded" && slices.Contains([]string{"Map", "Weighed", "Table", "Pool", "Timeline"}, e.Sel.Name)
	}
	return false
}
