// SPDX-License-Identifier: Apache-2.0

// Package probe is the table of the BPF objects: their hooks, what is missing without them, and the names of their maps,
// programs and variables. It neither loads nor attaches: package tracer does, and live sources know objects by this package.
package probe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"ktrace/bpf"
)

// Probe is one BPF object: bpf/<name>.bpf.c.
type Probe struct {
	Name string
	// Hooks are those of an object with several, or with one of which there is more to say than what it is named.
	Hooks []Hook
	// Kernel returns values of the object's variables that depend on the running kernel; nil if there are none.
	Kernel func(*btf.Spec) []Globals
	// AtDevices says that user space attaches its programs to devices, which takes CAP_NET_ADMIN.
	AtDevices bool
}

// Hook is one source of events. Its variants are alternatives, best first; the sections of their programs say where to
// attach.
type Hook struct {
	Name     string
	Variants []Variant // nil, of the only hook of an object, until Load: all its programs, a variant for each type of section
	Optional bool      // the verb works without it
	Without  string    // the impact where no variant works
}

// Variant is a set of programs that are attached all, or none.
type Variant struct {
	Name     string
	Programs []string
	Impact   string // compared with the best variant, "" if none
	Multi    bool   // kprobe.multi: one link attaches this variant of all hooks of the object
}

// All are all probes. The order is that of attaching. An object that nothing more is said about has one hook, which its verbs
// need.
func All() []Probe {
	all := []Probe{cgroupProbe(), pathProbe(), sockProbe(), flowProbe(), netfilterProbe(), tapProbe(), tlsProbe(), dnsProbe(), fsyncProbe()}
	for _, name := range slices.Sorted(maps.Keys(bpf.Loaders())) {
		if !slices.ContainsFunc(all, func(p Probe) bool { return p.Name == name }) {
			all = append(all, Probe{Name: name, Hooks: []Hook{{Name: name}}})
		}
	}
	return all
}

// Load reads the object, and completes the hooks by what it has.
func (p *Probe) Load() (*ebpf.CollectionSpec, error) {
	spec, err := bpf.Loaders()[p.Name]()
	if err != nil {
		return nil, fmt.Errorf("bpf object %s: %w", p.Name, err)
	}
	if len(p.Hooks) == 1 && p.Hooks[0].Variants == nil {
		hook := p.Hooks[0]
		hook.Variants = variantsOf(spec)
		p.Hooks = []Hook{hook}
	}
	return spec, nil
}

// variantsOf makes a variant of all programs of a type of section, the best type first: those to which the kernel gives typed
// arguments, then those that it detaches the fastest.
func variantsOf(spec *ebpf.CollectionSpec) []Variant {
	var all []Variant
	for _, section := range []string{"tp_btf", "raw_tp", "kprobe", "fentry", "tracepoint", "cgroup_skb", "tc"} {
		v := Variant{Name: section}
		for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
			if is, _, _ := strings.Cut(spec.Programs[name].SectionName, "/"); is == section {
				v.Programs = append(v.Programs, name)
			}
		}
		if v.Programs != nil {
			all = append(all, v)
		}
	}
	return all
}
