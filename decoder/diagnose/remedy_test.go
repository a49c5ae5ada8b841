package diagnose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ktrace/decoder"
	"ktrace/testdata/remedy"
)

// TestRemediesOfReasonsAreCommands wants commands that work as printed of each reason to drop.
func TestRemediesOfReasonsAreCommands(t *testing.T) {
	for _, m := range meanings() {
		if m.harm == elsewhere {
			continue
		}
		d := decoder.Drop{Reason: "FLUX_CAPACITOR", Location: "f"}
		if len(m.reasons) > 0 {
			d.Reason = m.reasons[0]
		} else if len(m.functions) > 0 {
			d = decoder.Drop{Reason: decoder.ReasonNotTold, Location: m.functions[0]}
		} else {
			d.Reason = m.prefix + "FLUX_CAPACITOR"
		}
		e, d := askedAt(7, "10.244.1.5:53", d)
		f, ok := byReason(NewState(), e, d)
		if err := remedy.Check(f.Remedy); !ok || err != nil {
			t.Errorf("%s: %v", d.Reason, err)
		}
	}
}

// TestRemediesAreCommands goes over all that the rules have for remedies in their source: no test needs to meet each finding.
func TestRemediesAreCommands(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files, seen := token.NewFileSet(), 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "drop_reason") { // which have values to be filled in
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, list := range remediesIn(n) {
				lines := linesOf(list)
				seen += len(lines)
				if err := remedy.Check(lines); err != nil {
					t.Errorf("%v: %v", files.Position(n.Pos()), err)
				}
			}
			return true
		})
	}
	if seen < 100 {
		t.Errorf("only %d lines found", seen)
	}
}

// remediesIn are the expressions that a node of the syntax gives a remedy: of a finding, of a variable of that name, or as
// the result of a function that makes them.
func remediesIn(n ast.Node) []ast.Expr {
	named := func(x ast.Expr) bool { return strings.EqualFold(nameOf(x), "remedy") }
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if named(n.Key) {
			return []ast.Expr{n.Value}
		}
	case *ast.AssignStmt:
		if i := slices.IndexFunc(n.Lhs, named); i >= 0 && len(n.Lhs) == len(n.Rhs) {
			return n.Rhs[i : i+1]
		}
	case *ast.FuncDecl:
		if slices.Contains([]string{"see", "endpoints", "probe", "fragmentRemedy", "logsOf", "applicationCause"}, n.Name.Name) {
			return returned(n)
		}
	}
	return nil
}

// nameOf is the name of a variable, field, function or method.
func nameOf(x ast.Expr) string {
	if s, ok := x.(*ast.SelectorExpr); ok {
		x = s.Sel
	}
	if id, ok := x.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// returned are the last results of a function.
func returned(f *ast.FuncDecl) (all []ast.Expr) {
	ast.Inspect(f, func(n ast.Node) bool {
		if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
			all = append(all, r.Results[len(r.Results)-1])
		}
		return true
	})
	return all
}

// linesOf are the lines that an expression writes itself.
func linesOf(x ast.Expr) (all []string) {
	switch x := x.(type) {
	case *ast.CompositeLit:
		for _, one := range x.Elts {
			all = append(all, linesOf(one)...)
		}
	case *ast.CallExpr:
		switch args := x.Args; nameOf(x.Fun) {
		case "append":
			return allLines(args)
		case "byFamily", "inEach":
			return allLines(args[1:])
		}
		return oneLine(x)
	case *ast.BasicLit, *ast.BinaryExpr:
		return oneLine(x)
	}
	return all
}

// allLines are those of several.
func allLines(args []ast.Expr) (all []string) {
	for _, a := range args {
		all = append(all, linesOf(a)...)
	}
	return all
}

// oneLine is a line with a word for each value that is put into it, which may be the program's name; none if it does not begin with text.
func oneLine(x ast.Expr) []string {
	text := textOf(x)
	if text == "" {
		return nil
	}
	return []string{text}
}

// textOf is what an expression writes.
func textOf(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(x.Value)
		return s
	case *ast.BinaryExpr:
		return textOf(x.X) + textOf(x.Y)
	case *ast.CallExpr:
		switch nameOf(x.Fun) {
		case "Sprintf":
			format := regexp.MustCompile(`^%s(%s|\w)`).ReplaceAllString(textOf(x.Args[0]), "$1") // in a namespace
			return regexp.MustCompile(`%[a-z]`).ReplaceAllString(strings.ReplaceAll(format, "%%", "%"), "ip")
		case "digCommand":
			return "dig "
		}
	}
	return ""
}
