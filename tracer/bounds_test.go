// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"ktrace/tracer/probe"
)

// kernelMap is a row of docs/bounds.md: a map of the kernel half.
type kernelMap struct {
	entries, kib int
}

// boundsOfMaps reads the rows: | `map` | objects | entries | KiB | ...
func boundsOfMaps(t *testing.T) map[string]kernelMap {
	t.Helper()
	text, err := os.ReadFile("../docs/bounds.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]kernelMap{}
	number := func(s string) int {
		n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([\\d,]+) \\| ([\\d,]+) \\|").FindAllStringSubmatch(string(text), -1) {
		rows[row[1]] = kernelMap{number(row[2]), number(row[3])}
	}
	return rows
}

// lockedKiB is the kernel's memory of a map.
func lockedKiB(t *testing.T, m *ebpf.Map) int {
	t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
	if err != nil {
		t.Fatal(err)
	}
	var bytes int
	for line := range strings.Lines(string(info)) {
		if n, _ := fmt.Sscanf(line, "memlock: %d", &bytes); n == 1 {
			return (bytes + 1023) / 1024
		}
	}
	t.Fatalf("no memlock of %v", m)
	return 0
}

// TestEveryKernelMapHasABound: docs/bounds.md has how many entries each map has, and how much of the kernel's memory. How much that is
// differs between kernels, and with the number of CPUs.
func TestEveryKernelMapHasABound(t *testing.T) {
	rows, found := boundsOfMaps(t), map[string]bool{}
	for _, p := range probe.All() {
		spec, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
			one := spec.Maps[name]
			if strings.HasPrefix(name, ".") || found[name] || one.Type == ebpf.SkStorage { // .rodata and its like; a socket's own
				continue
			}
			found[name] = true
			if name == ringName {
				one.MaxEntries, one.Value, one.ValueSize = defaultRing, nil, 0
			}
			m, err := ebpf.NewMap(one)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			kib, row := lockedKiB(t, m), rows[name]
			m.Close()
			if cpus := one.Type == ebpf.PerCPUArray; row.entries != int(one.MaxEntries) || !cpus && (kib > row.kib*3/2 || kib < row.kib/2) {
				t.Errorf("docs/bounds.md lacks this, or has another: | `%s` | %d | %d |", name, one.MaxEntries, kib)
			}
		}
	}
	for name := range rows {
		if !found[name] {
			t.Errorf("docs/bounds.md has the map %s, which no object has", name)
		}
	}
}
