// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Probe is one BPF object: bpf/<name>.bpf.c.
type Probe struct {
	Name  string
	Load  func() (*ebpf.CollectionSpec, error)
	Hooks []Hook
	// Kernel returns values of the object's variables that depend on the running kernel; nil if there are none.
	Kernel func(*btf.Spec) []Globals
	// Capabilities are those that it needs beside the ones of every live verb.
	Capabilities []string
}

// Hook is one source of events. Its variants are alternatives, best first; the sections of their programs say where to
// attach.
type Hook struct {
	Name     string
	Variants []Variant
	Optional bool   // the verb works without it
	Without  string // the impact where no variant works
}

// Variant is a set of programs that are attached all, or none.
type Variant struct {
	Name     string
	Programs []string
	Impact   string // compared with the best variant, "" if none
	Multi    bool   // kprobe.multi: one link attaches this variant of all hooks of the object
}

// Probes is the table of all probes. The order is that of attaching.
func Probes() []Probe {
	return []Probe{
		cgroupProbe(),
		pathProbe(),
		sockProbe(),
		netfilterProbe(),
		tapProbe(),
		tlsProbe(),
		dnsProbe(),
		fsyncProbe(),
	}
}
