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
	// Kernel returns the values of const volatile variables that tell the object what this kernel has; nil if it
	// needs none.
	Kernel func(*btf.Spec) []Globals
	// Capabilities are what it needs beside those of every live verb.
	Capabilities []string
}

// Hook is one thing to watch. Its variants watch the same by other means, best first; the sections of their
// programs say where to attach.
type Hook struct {
	Name     string
	Variants []Variant
	Optional bool   // the verb is of use without it
	Without  string // what the user loses without it
}

// Variant is a set of programs that works as a whole or not at all.
type Variant struct {
	Name     string
	Programs []string
	Impact   string // what is worse than with a better variant, "" if nothing
	Multi    bool   // its programs are for functions, which all hooks of the object that have such a variant are at by one link
}

// Probes is the table of all there are.
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
