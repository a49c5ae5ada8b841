// SPDX-License-Identifier: Apache-2.0

// Package probe is the table of the BPF objects: their hooks, what is missing without them, and the names of their maps,
// programs and variables. It neither loads nor attaches: package tracer does, and live sources know objects by this package.
package probe

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
	// AtDevices says that user space attaches its programs to devices, which takes CAP_NET_ADMIN.
	AtDevices bool
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

// All is the table of all probes. The order is that of attaching.
func All() []Probe {
	return []Probe{
		cgroupProbe(),
		pathProbe(),
		sockProbe(),
		flowProbe(),
		netfilterProbe(),
		tapProbe(),
		tlsProbe(),
		dnsProbe(),
		fsyncProbe(),
	}
}
