// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ktrace/testdata/lab"
	"ktrace/tracer/host"
)

// tracingVerbs are those that trace, and how they are called here.
func tracingVerbs(dir string) [][]string {
	return [][]string{
		{"dns"}, {"drop"}, {"reset"}, {"nat"}, {"mtu"}, {"fsync", "--path", "/tmp"},
		{"capture", "-i", "lo", "-w", filepath.Join(dir, "capture.pcapng")}, {"diagnose"},
	}
}

// tracing are all capabilities that a verb may need, in the order of the table.
func tracing() []string {
	return []string{host.BPF, host.Perfmon, host.NetAdmin, host.NetRaw, host.SysAdmin, host.SysPtrace, host.DACReadSearch, host.Syslog}
}

// with runs ktrace as root with these capabilities and no others, until it has attached, and returns its exit status and stderr.
func with(t *testing.T, caps []string, args ...string) (int, string) {
	t.Helper()
	run := lab.KtraceUnder(t, under(caps), append(args, "-d", "1ms", "-v", "-o", "json")...)
	_, status := run.Wait()
	return status, run.Stderr()
}

// under is the condition that a process of root has these capabilities.
func under(caps []string) string {
	set := "-all"
	for _, c := range caps {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return `exec setpriv --inh-caps=-all --bounding-set=` + set + ` "$@"`
}

// TestREADMENamesTheCapabilitiesOfEachVerb finds for each verb which capabilities it refuses to run without, and which
// it does with less without, as it says: that is what README has. With both it attaches what it attaches with all that root has.
func TestREADMENamesTheCapabilitiesOfEachVerb(t *testing.T) {
	t.Parallel()
	verbs := tracingVerbs(t.TempDir())
	rows := make([]map[string]string, len(verbs))
	t.Run("verbs", func(t *testing.T) {
		for i, verb := range verbs {
			t.Run(verb[0], func(t *testing.T) {
				t.Parallel()
				rows[i] = capabilitiesOf(t, verb)
			})
		}
	})
	var table strings.Builder
	fmt.Fprintf(&table, "| | %s |\n|%s\n", strings.Join(tracing(), " | "), strings.Repeat(" --- |", len(tracing())+1))
	for i, verb := range verbs {
		fmt.Fprintf(&table, "| %s |", verb[0])
		for _, c := range tracing() {
			fmt.Fprintf(&table, " %s |", cmp.Or(rows[i][c], "–"))
		}
		table.WriteByte('\n')
	}
	compareReadme(t, "capabilities", table.String())
}

// capabilitiesOf is a verb's row.
func capabilitiesOf(t *testing.T, verb []string) map[string]string {
	row := map[string]string{}
	var needed []string
	status, stderr := with(t, nil, verb...)
	for _, c := range tracing() {
		if status == 1 && strings.Contains(stderr, "missing ") && strings.Contains(stderr, c+": ") { // and what is lost
			row[c], needed = "needed", append(needed, c)
		}
	}
	for _, c := range needed { // each by itself is refused, and is the only one that is named
		others := slices.DeleteFunc(tracing(), func(other string) bool { return other == c || other == host.SysAdmin }) // which implies some
		if status, stderr := with(t, others, verb...); status != 1 || !strings.Contains(stderr, "missing "+c+": ") {
			t.Errorf("without %s: exit status %d\n%s", c, status, stderr)
		}
	}
	status, stderr = with(t, needed, verb...)
	if status != 0 && status != 3 {
		t.Errorf("with %v alone: exit status %d\n%s", needed, status, stderr)
	}
	for _, m := range regexp.MustCompile(`(?m)^ktrace: without (CAP_\w+), \w+`).FindAllStringSubmatch(stderr, -1) {
		row[m[1]] = "less"
	}
	all := needed
	for c, how := range row {
		if how == "less" {
			all = append(all, c)
		}
	}
	_, documented := with(t, all, verb...)
	root := confined(t, verb)
	if hooks := hooksOf(root); hooks == "" || hooks != hooksOf(documented) || strings.Contains(documented, "without CAP_") {
		t.Errorf("with %v:\n%s\nas root:\n%s", all, documented, root)
	}
	return row
}

// hooksOf is which variant of each hook was attached.
func hooksOf(stderr string) string {
	return strings.Join(regexp.MustCompile(`(?m)^ktrace: \w+: .*$`).FindAllString(stderr, -1), "\n")
}

// compareReadme compares a part of README, between two marks, with what it should be; -update writes it.
func compareReadme(t *testing.T, name, want string) {
	t.Helper()
	const readme = "../../README.md"
	raw, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	before, rest, ok := strings.Cut(string(raw), begin)
	got, after, closed := strings.Cut(rest, end)
	switch {
	case !ok || !closed:
		t.Fatalf("README has no %s", begin)
	case *rewrite:
		if err := os.WriteFile(readme, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	case got != want:
		t.Errorf("README has\n%swant (make capabilities writes it)\n%s", got, want)
	}
}

// TestARuleIsNamedWithTheDocumentedCapabilities, but not without the one that it takes.
func TestARuleIsNamedWithTheDocumentedCapabilities(t *testing.T) {
	t.Parallel()
	f := stacks()[0]
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	c.Node.Run(f.iptables, "-A", "FORWARD", "-d", f.server, "-p", "tcp", "--dport", "80", "-j", "DROP")
	for _, tt := range []struct {
		without string
		named   bool
	}{{"", true}, {host.NetAdmin, false}} {
		t.Run("without "+tt.without, func(t *testing.T) {
			caps := slices.DeleteFunc(tracing(), func(c string) bool { return c == tt.without })
			ready := filepath.Join(t.TempDir(), "ready")
			run := lab.KtraceUnder(t, under(caps), "drop", "--netns", c.Node.Path(), "-o", "json", "--ready-file", ready).AwaitReady(ready)
			fetch(p.NS, f.server+":80", 100e6)
			found := run.AwaitFinding("netfilter-drop")
			if got := strings.Contains(string(found.Raw), "the rule (certain)"); got != tt.named {
				t.Errorf("the rule is named: %v, want %v\n%s", got, tt.named, found.Raw)
			}
			run.Stop()
		})
	}
}

// confined runs a verb as root, checks that all of its threads have given up what it does not need any more once everything is
// attached, and returns its stderr.
func confined(t *testing.T, verb []string) string {
	t.Helper()
	keep := host.Set(host.BPF, host.SysPtrace, host.DACReadSearch, host.DACOverride, host.Fowner) // the last two for --ready-file
	if verb[0] != "fsync" {
		keep |= host.Set(host.SysAdmin, host.NetAdmin)
	}
	if verb[0] != "fsync" && verb[0] != "capture" {
		keep |= host.Set(host.NetRaw, host.Syslog)
	}
	run := lab.Ktrace(t, append(verb, "-v")...)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", run.PID()))
	if err != nil || len(threads) < 2 {
		t.Fatal(threads, err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		for field, want := range map[string]uint64{"CapInh": 0, "CapPrm": keep, "CapEff": keep, "CapBnd": keep, "CapAmb": 0} {
			m := regexp.MustCompile(field + `:\s+(\w+)`).FindSubmatch(status)
			if got, err := strconv.ParseUint(string(m[1]), 16, 64); err != nil || got != want {
				t.Errorf("%s: %s %x, want %x: %v", thread, field, got, want, err)
			}
		}
		if !regexp.MustCompile(`NoNewPrivs:\s+1\n`).Match(status) || !regexp.MustCompile(`Seccomp:\s+2\n`).Match(status) {
			t.Errorf("%s:\n%s", thread, status)
		}
	}
	run.Stop()
	return run.Stderr()
}
