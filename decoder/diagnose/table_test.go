// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

func TestRowsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rows() {
		if seen[r.ID] || !idForm.MatchString(r.ID) {
			t.Errorf("%q is there twice, or no id", r.ID)
		}
		seen[r.ID] = true
		if r.Meaning == "" || strings.ContainsAny(r.Meaning, "\n\t") || strings.HasSuffix(r.Meaning, ".") {
			t.Errorf("%s means %q", r.ID, r.Meaning)
		}
		for _, s := range []event.Severity{event.Critical, event.Warning, event.Info} {
			if got := r.severity(s); !r.Allows(got) || r.Allows(s) != (got == s) || s == r.Severity && got != s {
				t.Errorf("%s: %+v does not allow what it gives", r.ID, r)
			}
		}
		if !r.recorded && !r.Allows(event.Info) {
			t.Errorf("%s is no information where records were lost", r.ID)
		}
		for _, p := range r.proofs {
			if p.prove == nil {
				t.Errorf("%s has an empty proof", r.ID)
			}
		}
	}
	if _, ok := RowOf("no-such-finding"); ok || len(IDs()) != len(seen) {
		t.Error("there is a finding that is none, or one is missing")
	}
}

// TestEveryFindingOfTheSourceHasARow looks at each place of the rules' source that names a finding: an id that has no row has no
// severity, and no trigger takes it. Where one has a severity beside its id the row must allow that.
func TestEveryFindingOfTheSourceHasARow(t *testing.T) {
	named := map[string]bool{}
	for name, file := range ruleFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			for id, severity := range findingsIn(n) {
				named[id] = true
				row, ok := RowOf(id)
				if !ok || severity != "" && !row.Allows(severity) {
					t.Errorf("%s: %s %s has no row, or one that does not allow that", name, id, severity)
				}
			}
			return true
		})
	}
	for _, id := range IDs() {
		if !named[id] {
			t.Errorf("%s is concluded nowhere", id)
		}
	}
}

// ruleFiles are the source of the rules, without the table, by name.
func ruleFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || name == "table.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
	}
	return files
}

// findingsIn are the ids that a node of the syntax gives findings, with the severity that it gives them besides: the fields
// of a finding or of a drop reason's meaning, assignments, and the results and tables from which these take an id.
func findingsIn(n ast.Node) map[string]event.Severity {
	found := map[string]event.Severity{}
	add := func(x ast.Expr) {
		if id := idOf(x); id != "" {
			found[id] = ""
		}
	}
	mayAdd := func(x ast.Expr) { // of other words, too; an id that has no row is seen by what is printed, see lab.InTable
		if _, ok := RowOf(idOf(x)); ok {
			add(x)
		}
	}
	switch n := n.(type) {
	case *ast.CompositeLit:
		fields := map[string]ast.Expr{}
		for _, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				fields[nameOf(kv.Key)] = kv.Value
			}
		}
		for _, name := range []string{"ID", "id"} {
			if id := idOf(fields[name]); id != "" {
				found[id] = severityOf(fields["Severity"])
			}
		}
		if m, ok := n.Type.(*ast.MapType); ok && nameOf(m.Value) == "string" {
			for _, e := range n.Elts {
				mayAdd(e.(*ast.KeyValueExpr).Value)
			}
		}
	case *ast.AssignStmt:
		for i, x := range n.Lhs {
			if strings.EqualFold(nameOf(x), "id") && i < len(n.Rhs) {
				add(n.Rhs[i])
			}
		}
	case *ast.ReturnStmt:
		for _, x := range n.Results {
			mayAdd(x)
		}
	case *ast.ValueSpec: // a constant for one
		for _, x := range n.Values {
			mayAdd(x)
		}
	}
	return found
}

// idOf is the literal that has the form of a finding's id, "" if an expression is none.
func idOf(x ast.Expr) string {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	id, _ := strconv.Unquote(lit.Value)
	if !idForm.MatchString(id) {
		return ""
	}
	return id
}

// idForm is what ids look like.
var idForm = regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`)

func severityOf(x ast.Expr) event.Severity {
	return map[string]event.Severity{"Critical": event.Critical, "Warning": event.Warning, "Info": event.Info}[nameOf(x)]
}

// TestRulesOfEachVerb wants the state first and every rule of the table for the verb that shows findings alone, and no rule
// of another verb's kind for one of events.
func TestRulesOfEachVerb(t *testing.T) {
	kinds := map[event.Kind]int{"": 0}
	for _, r := range Rows() {
		if r.rule.new == nil {
			continue
		}
		kinds[""]++
		for _, k := range r.rule.kinds {
			kinds[k]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		rules := NewRules(Config{Kind: kind}).Rules()
		if rules[0] != stage.Rule(rules[0].(*State)) {
			t.Errorf("%s: %T comes first", kind, rules[0])
		}
		n := len(rules) - 1
		if inhibitor, ok := rules[n].(*Inhibitor); ok {
			n += len(inhibitor.Rules()) - 1
		}
		if n != kinds[kind] {
			t.Errorf("%q runs %d rules, want %d", kind, n, kinds[kind])
		}
	}
}
