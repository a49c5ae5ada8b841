package tracer

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"ktrace/bpf"
)

// Probe is one BPF object: bpf/<name>.bpf.c.
type Probe struct {
	Name  string
	Load  func() (*ebpf.CollectionSpec, error)
	Hooks []Hook
	// Kernel returns the values of const volatile variables that tell the object what this kernel has; nil if it
	// needs none.
	Kernel func(*btf.Spec) map[string]any
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
	Costs    string // what is worse than with a better variant, "" if nothing
	Together bool   // its programs are for functions, which all hooks of the object that have such a variant are at by one link
}

// traced are the two ways to run one program at a tracepoint. tp_btf exists since 5.5.
func traced(program string) []Variant {
	return []Variant{
		{Name: "tp_btf", Programs: []string{program + "_tp_btf"}},
		{Name: "raw_tp", Programs: []string{program + "_raw_tp"}, Costs: "every field of a packet is read by a helper: some 50 ns a packet more"},
	}
}

// pathProbeName is the name of the probe that watches packets on their way.
const pathProbeName = "path"

// Probes is the table of all there are.
func Probes() []Probe {
	return []Probe{
		{
			Name: "cgroup",
			Load: bpf.LoadCgroup,
			Hooks: []Hook{{
				Name:     "cgroups come and go",
				Variants: []Variant{{Name: "raw_tp", Programs: []string{"mkdir_raw_tp", "rmdir_raw_tp", "attach_raw_tp", "exec_raw_tp"}}},
				Optional: true,
				Without:  "pods that start while ktrace runs are found a second late",
			}},
		},
		{
			Name:   pathProbeName,
			Load:   bpf.LoadPath,
			Kernel: kfreeSkbArguments,
			Hooks: []Hook{
				{Name: "packets leave", Variants: traced("transmit")},
				{Name: "packets arrive", Variants: traced("receive")},
				{Name: "packets dropped", Variants: traced("drop")},
			},
		},
		sockProbe(),
		netfilterProbe(),
		tapProbe(),
		tlsProbe(),
		dnsProbe(),
		fsyncProbe(),
	}
}
