package tracer

import (
	"github.com/cilium/ebpf/btf"

	"ktrace/bpf"
)

// NetfilterProbe is the name of the probe that watches what netfilter decides.
const NetfilterProbe = "netfilter"

// Hooks of the netfilter object. Most make records of what is no drop, or that not every view is about.
const (
	HookVerdict       = "netfilter hook verdicts"    // completes what the node's rules show of drops
	HookUntranslated  = "new flows without NAT rule" // a record for every new flow that is no service's
	HookRefused       = "conntrack insert failures"
	HookConntrackFull = "conntrack table full"
	HookRejectIPv4    = "IPv4 REJECT"
	HookRejectIPv6    = "IPv6 REJECT"
	HookInvalid       = "conntrack INVALID packets"
)

// traceable are the ways to run one program where a function begins that is called once a connection or less. A kprobe
// costs such a call some 100 ns more than fentry does, but that matters less there than that all probes are gone within a
// second. Kernels 6.1 to 6.18 take 120 ms to detach one fentry, whatever the machine, and one after the other: ftrace waits
// under a lock for a grace period of RCU-tasks, and rests after it. A kprobe waits for plain RCU: 40 to 70 ms.
func traceable(programs ...string) []Variant {
	fentry := Variant{Name: "fentry"}
	for _, p := range programs {
		fentry.Programs = append(fentry.Programs, p+"_fentry")
	}
	return []Variant{probed(programs...), fentry}
}

// probed is the way to run one program where a function begins that serves those too which take a variable number of
// arguments.
func probed(programs ...string) Variant {
	v := Variant{Name: "kprobe"}
	for _, p := range programs {
		v.Programs = append(v.Programs, p+"_kprobe")
	}
	return v
}

// joined are these ways, the first a kprobe, and before them the same at one link with those of other hooks.
func joined(variants ...Variant) []Variant {
	all := Variant{Name: "kprobe.multi", Programs: variants[0].Programs, Multi: true}
	return append([]Variant{all}, variants...)
}

// netfilterProbe is the row of the netfilter object. Every hook is optional: what it tells for certain, the other
// objects and the node's counters tell by inference. Most functions are in modules, which are loaded with the first
// rule that needs them.
func netfilterProbe() Probe {
	return Probe{
		Name:   NetfilterProbe,
		Load:   bpf.LoadNetfilter,
		Kernel: func(kernel *btf.Spec) []Globals { return []Globals{kfreeSkbHasReason(kernel)} },
		Hooks: []Hook{
			{
				Name: HookVerdict,
				Variants: []Variant{
					{Name: "fentry", Programs: []string{"freed_raw_tp", "verdict_fexit"}},
					{Name: "kprobe", Programs: []string{"entry_kprobe", "verdict_raw_tp"}, Impact: "every packet takes some 160 ns longer at every hook of netfilter"},
				},
				Optional: true,
				Without:  "the hook where netfilter dropped a packet is inferred from its addresses",
			},
			{
				Name:     HookUntranslated,
				Variants: joined(traceable("setup")...),
				Optional: true,
				Without:  "that no NAT rule matched is inferred from packets that go on untranslated",
			},
			{
				Name: HookRefused,
				Variants: []Variant{
					{Name: "fentry", Programs: []string{"clash_fentry", "confirm_fexit"}},
					{Name: "kprobe", Programs: []string{"clash_kprobe", "refused_raw_tp"}, Impact: "flows that conntrack refuses for another reason than a race are known by its counters"},
				},
				Optional: true,
				Without:  "races of conntrack are inferred from its counters, and the other packet is not known",
			},
			{
				Name:     HookConntrackFull,
				Variants: []Variant{{Name: "fentry", Programs: []string{"alloc_fexit"}}},
				Optional: true,
				Without:  "that conntrack is full is known by its counters",
			},
			{
				Name:     HookRejectIPv4,
				Variants: joined(traceable("reset", "unreach")...),
				Optional: true,
				Without:  "rejects are inferred from an answer and a drop that come together",
			},
			{
				Name:     HookRejectIPv6,
				Variants: joined(traceable("reset6", "unreach6")...),
				Optional: true,
				Without:  "rejects are inferred from an answer and a drop that come together",
			},
			{
				Name:     HookInvalid,
				Variants: joined(probed("invalid", "malformed")),
				Optional: true,
				Without:  "why conntrack calls a packet invalid is not known",
			},
		},
	}
}
