// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ktrace/decoder/pcapfilter"
	"ktrace/tracer/filterjit"
	"ktrace/tracer/probe"
)

var update = flag.Bool("update", false, "record what the verifier says on this kernel")

// effort is what the verifier spent on a program.
type effort struct {
	instructions int // that it went through, of a million at most
	stack        int // bytes of all its functions or, as new kernels say it, of the deepest way of calls, which may take 512
}

// grown reports whether a program became much more expensive: by a fifth, and by a hundred, by which small ones vary.
func (e effort) grown(before effort) bool {
	return e.instructions*5 > before.instructions*6+500 || e.stack*5 > before.stack*6+5*8
}

// busiest are the objects as the view that asks for most loads them, with every branch of theirs open: the verifier does
// not follow what a variable that is false shuts.
func busiest(t *testing.T, kernel types) common {
	t.Helper()
	all := []probe.Globals{
		probe.PathFilter{Hops: probe.AllProtocols, Drops: probe.AllProtocols, TCPFlags: probe.FlagSYN | probe.FlagRST, Ports: []uint{53, 5353}, Snap: 512, MostPerSecond: 64},
		probe.FsyncGlobals{AllSync: true, ByNetns: true, Limit: time.Millisecond},
		probe.TapGlobals{Snap: 1 << 18},
		probe.DNSPorts{53, 5353},
		probe.EveryFlow(true),
		probe.OwnersKept(false),
		probe.Selection{Selecting: true, HostNetns: 1},
		probe.CgroupHierarchy{Subsystem: -1}, // of version 1 less is known
	}
	expr, err := pcapfilter.Parse(usualFilter)
	if err != nil {
		t.Fatal(err)
	}
	splice := func(spec *ebpf.CollectionSpec) error {
		_, err := filterjit.Splice(spec, expr)
		return err
	}
	return common{types: kernel, ring: 4096, globals: all, splice: splice}
}

// TestBusiestSetsEveryVariable finds what was added to an object and not to busiest.
func TestBusiestSetsEveryVariable(t *testing.T) {
	_, kernel := knowing(t)
	run := busiest(t, kernel)
	for _, p := range probe.All() {
		spec, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		given := run.globals
		if p.Kernel != nil {
			given = slices.Concat(given, p.Kernel(kernel.Spec))
		}
		set := map[string]any{"filtering": true} // splice does
		for _, g := range given {
			maps.Copy(set, g.Values())
		}
		for name, v := range spec.Variables {
			if _, ok := set[name]; !ok && v.Constant() {
				t.Errorf("%s: no type of probe.Globals sets %s", p.Name, name)
			}
		}
	}
}

// TestVerifierEffortStaysWhatItWas compares with testdata/vm/health, one file a kernel series. A program that is not
// in it yet is recorded with -update, under a stock kernel.
func TestVerifierEffortStaysWhatItWas(t *testing.T) {
	firewalled(t) // loads the modules that have some of the functions
	k, kernel := knowing(t)
	file := filepath.Join("../testdata/vm/health", k.series())
	before, err := readEfforts(file)
	if err != nil {
		t.Fatal(err)
	}
	run, now := busiest(t, kernel), map[string]effort{}
	for _, p := range probe.All() {
		for id, e := range efforts(t, run, p) {
			now[id] = e
			if b, known := before[id]; known && e.grown(b) && !*update {
				t.Errorf("%s: %+v, was %+v; if that must be, record it with make test-vm UPDATE=1", id, e, b)
			}
		}
	}
	if len(now) == 0 {
		t.Fatal("no program loads")
	}
	if *update && k.stock() {
		if err := writeEfforts(file, now); err != nil {
			t.Fatal(err)
		}
	}
}

// efforts are those of a probe's programs that this kernel takes, by probe and program.
func efforts(t *testing.T, run common, p probe.Probe) map[string]effort {
	t.Helper()
	o, err := run.load(p)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	if names := atOneLink(p); names != nil {
		o.spec.Programs[multiProgram] = dispatch(o.spec.Programs, names)
	}
	all := map[string]effort{}
	for name := range o.spec.Programs {
		e, err := verify(o, name)
		if err != nil {
			t.Logf("%s: %v", name, err) // whether it may be refused is another test's
			continue
		}
		all[p.Name+" "+name] = e
	}
	return all
}

// atOneLink names the programs of a probe that are attached together, if all are.
func atOneLink(p probe.Probe) (names []string) {
	for _, h := range p.Hooks {
		for _, v := range h.Variants {
			if v.Multi {
				names = append(names, v.Programs...)
			}
		}
	}
	return names
}

// verify loads one program and reads the statistics that end the verifier's log. Kernels report the instructions by
// themselves since 5.16, the stack never.
func verify(o *object, name string) (effort, error) {
	spec := o.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(other string, _ *ebpf.ProgramSpec) bool { return other != name })
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: o.maps,
		Programs:        ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
		Cache:           o.types.cache,
	})
	if err != nil {
		return effort{}, err
	}
	defer c.Close()
	return parseEffort(c.Programs[name].VerifierLog)
}

var (
	processed = regexp.MustCompile(`processed (\d+) insns`)
	depth     = regexp.MustCompile(`stack depth (?:max )?([0-9+]+)`)
)

func parseEffort(log string) (effort, error) {
	count, deep := processed.FindStringSubmatch(log), depth.FindStringSubmatch(log)
	if count == nil || deep == nil {
		return effort{}, fmt.Errorf("no statistics in %q", log)
	}
	var e effort
	var err error
	if e.instructions, err = strconv.Atoi(count[1]); err != nil {
		return effort{}, err
	}
	for frame := range strings.SplitSeq(deep[1], "+") { // one a function
		n, err := strconv.Atoi(frame)
		if err != nil {
			return effort{}, err
		}
		e.stack += n
	}
	return e, nil
}

func readEfforts(file string) (map[string]effort, error) {
	all := map[string]effort{}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil // a series without a record
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(raw)) {
		var probe, program string
		var e effort
		if _, err := fmt.Sscanf(line, "%s %s %d %d", &probe, &program, &e.instructions, &e.stack); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, line, err)
		}
		all[probe+" "+program] = e
	}
	return all, nil
}

func writeEfforts(file string, all map[string]effort) error {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s %d %d\n", id, all[id].instructions, all[id].stack)
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

func TestEffortIsReadFromTheLog(t *testing.T) {
	for log, want := range map[string]effort{
		"stack depth 64+24\nprocessed 1234 insns (limit 1000000) max_states_per_insn 1\n":                     {1234, 88},
		"stack depth max 48\nsubprog 0 (x) main insns_self 257 insns_total 257 stack 40\nprocessed 257 insns": {257, 48}, // 7.3
	} {
		if got, err := parseEffort(log); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := parseEffort("nothing"); err == nil {
		t.Error("no error though there is nothing")
	}
}
