// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ktrace/decoder/event"
	"ktrace/testdata/wording"
)

// TestRemediesOfReasonsAreCommands wants commands that work as printed of each reason to drop.
func TestRemediesOfReasonsAreCommands(t *testing.T) {
	for _, m := range meanings() {
		if m.harm == elsewhere {
			continue
		}
		d := event.Drop{Reason: "FLUX_CAPACITOR", Location: "f"}
		if len(m.reasons) > 0 {
			d.Reason = m.reasons[0]
		} else if len(m.functions) > 0 {
			d = event.Drop{Reason: event.ReasonNotReported, Location: m.functions[0]}
		} else {
			d.Reason = m.prefix + "FLUX_CAPACITOR"
		}
		e, d := askedAt(7, "10.244.1.5:53", d)
		f, ok := byReason(NewState(), e, d)
		if err := wording.Remedies(f.Remedy); !ok || err != nil {
			t.Errorf("%s: %v", d.Reason, err)
		}
	}
}

// TestLinesAreCommands goes over all lines in the rules' source: no test needs to meet each finding.
func TestLinesAreCommands(t *testing.T) {
	lines := linesInSource(t)
	if len(lines) < 100 {
		t.Errorf("only %d lines found", len(lines))
	}
	for _, l := range lines {
		r := run(l, slices.Repeat([]any{"eth0"}, strings.Count(string(l), "%v"))...)
		if err := wording.Remedies([]event.Remedy{r}); err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
}

// hostile are words that a pod, a rule, a device, a DNS name or a file may have.
func hostile() []string {
	return []string{"$(reboot)", "x;reboot;#", "`id`", "it's", `a"b`, "a b", "*", "~", "{a,b}", `\`, "&", "|", ">x", "!1", "#", "-f/root/secret", "--help", "-", ""}
}

// TestAttackOperandsAreArguments wants a shell to give every program just the arguments that were meant, whatever the names are,
// and no name to be taken for an option.
func TestAttackOperandsAreArguments(t *testing.T) {
	var commands []string
	var want [][]string
	for _, l := range linesInSource(t) {
		for _, name := range hostile() {
			r := run(l, slices.Repeat([]any{name}, strings.Count(string(l), "%v"))...)
			words := slices.DeleteFunc(strings.Fields(string(l)), func(w string) bool { return strings.HasSuffix(w, "/dev/null") })
			if strings.HasPrefix(name, "-") && slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "%v") }) {
				if r.Run != "" || r.Do == "" {
					t.Errorf("%s with %q: %+v", l, name, r)
				}
				continue
			}
			for i, w := range words {
				words[i] = strings.ReplaceAll(w, "%v", name)
			}
			commands, want = append(commands, r.Run), append(want, words)
		}
	}
	checkArguments(t, commands, want)
}

// TestNamesThatCannotBeShown are in no command: it would not be what is printed.
func TestNamesThatCannotBeShown(t *testing.T) {
	for _, name := range []string{"a\nb", "a\x1b[2Jb", "a\u202eb", "a\x00b", "\xff"} {
		if r := pipe(run("ip neigh show"), run("grep -i -e %v", optarg(name))); r.Run != "" || r.Do == "" {
			t.Errorf("%q: %+v", name, r)
		}
	}
}

// TestArgumentsOfOptions may begin as an option does, and are still none.
func TestArgumentsOfOptions(t *testing.T) {
	var commands []string
	var want [][]string
	for _, name := range append(hostile(), "+trace", "@10.0.0.1") {
		if name != "" {
			commands = append(commands, dig(netip.MustParseAddrPort(serviceDNS), "", name, "A").Run)
			want = append(want, []string{"dig", "@10.96.0.10", "-p", "53", "-q", name, "-t", "A"})
		}
	}
	checkArguments(t, commands, want)
}

// TestNamesAreNoStatementsOfNft: it takes its arguments for one text, whatever a shell made of them.
func TestNamesAreNoStatementsOfNft(t *testing.T) {
	for chain, safe := range map[string]bool{
		"forward": true, "KUBE-SVC-TCOU7JCQXEZGVUNU": true, "cali-fw-cali0123": true, "filter-FORWARD": true, "a.b/c_1": true,
		"x; flush ruleset": false, "x\"": false, "-f": false, "7": false, "": false, "x y": false,
	} {
		r := see(event.RuleFact{System: "nftables", Family: "inet", Table: "t", Chain: chain})
		if (r.Run != "") != safe || (r.Do == "") != safe {
			t.Errorf("%q: %+v", chain, r)
		}
	}
}

// checkArguments has a shell split commands into their words, and runs none.
func checkArguments(t *testing.T, commands []string, want [][]string) {
	t.Helper()
	var script strings.Builder
	for _, c := range commands {
		script.WriteString("set -- " + c + "\nprintf '%s\\0' \"$@\"\nprintf '\\1'\n")
	}
	sh := exec.Command("sh")
	sh.Stdin = strings.NewReader(script.String())
	out, err := sh.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x01"), "\x01")
	if len(got) != len(commands) {
		t.Fatalf("%d commands, want %d", len(got), len(commands))
	}
	for i, c := range commands {
		if words := strings.Split(strings.TrimSuffix(got[i], "\x00"), "\x00"); !slices.Equal(words, want[i]) {
			t.Errorf("%s is %q to a shell, want %q", c, words, want[i])
		}
	}
}

// linesInSource are the lines that the calls of run and forFamily have, as far as they are written there.
func linesInSource(t *testing.T) []line {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []line
	files := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if c, ok := n.(*ast.CompositeLit); ok && name != "command.go" && nameOf(c.Type) == "Remedy" {
				t.Errorf("%v: a remedy is made by run or do", files.Position(n.Pos()))
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			first := map[string]int{"run": 0, "forFamily": 1}
			if i, ok := first[nameOf(call.Fun)]; ok {
				if l := lineOf(call.Args[i]); l != "" && l[0] != ' ' { // it begins with the program
					all = append(all, l)
				}
			}
			return true
		})
	}
	return all
}

// lineOf is what an expression writes.
func lineOf(x ast.Expr) line {
	switch x := x.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(x.Value)
		return line(s)
	case *ast.BinaryExpr:
		return lineOf(x.X) + lineOf(x.Y)
	}
	return ""
}

// nameOf is the name of a variable, field, function, method or type.
func nameOf(x ast.Expr) string {
	if s, ok := x.(*ast.SelectorExpr); ok {
		x = s.Sel
	}
	if id, ok := x.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
