// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"github.com/cilium/ebpf/btf"
)

// Netfilter is the name of the probe that reports netfilter's and conntrack's decisions.
const Netfilter = "netfilter"

// Hooks of the netfilter object. Views leave out those whose records they do not use.
const (
	HookVerdict       = "netfilter hook verdicts"    // names the hook in which a packet was dropped
	HookUntranslated  = "new flows without NAT rule" // one record per new flow that is not translated
	HookRefused       = "conntrack insert failures"
	HookConntrackFull = "conntrack table full"
	HookRejectIPv4    = "IPv4 REJECT"
	HookRejectIPv6    = "IPv6 REJECT"
	HookInvalid       = "conntrack INVALID packets"
)

// traceable are the variants for the entry of a function that is called at most once per connection. A kprobe makes such a
// call about 100 ns slower than fentry does, but it detaches faster, and all probes have to be detached within a second.
// Kernels 6.1 to 6.18 take 120 ms to detach one fentry program on any machine, one after the other: ftrace waits for an
// RCU-tasks grace period under a lock. A kprobe waits for an RCU grace period: 40 to 70 ms.
func traceable(programs ...string) []Variant {
	fentry := Variant{Name: "fentry"}
	for _, p := range programs {
		fentry.Programs = append(fentry.Programs, p+"_fentry")
	}
	return []Variant{probed(programs...), fentry}
}

// probed is the kprobe variant, which unlike fentry works for variadic functions.
func probed(programs ...string) Variant {
	v := Variant{Name: "kprobe"}
	for _, p := range programs {
		v.Programs = append(v.Programs, p+"_kprobe")
	}
	return v
}

// joined are variants, the first of which is a kprobe, preceded by the same programs as kprobe.multi.
func joined(variants ...Variant) []Variant {
	all := Variant{Name: "kprobe.multi", Programs: variants[0].Programs, Multi: true}
	return append([]Variant{all}, variants...)
}

// netfilterProbe is the row of the netfilter object. Every hook is optional: what it reports can be inferred, with less
// confidence, from other objects and the node's counters. Most functions are in modules, which are loaded with the first
// rule that needs them.
func netfilterProbe() Probe {
	return Probe{
		Name:   Netfilter,
		Kernel: func(kernel *btf.Spec) []Globals { return []Globals{kfreeSkbHasReason(kernel)} },
		Hooks: []Hook{
			{
				Name: HookVerdict,
				Variants: []Variant{
					{Name: "fentry", Programs: []string{"freed_raw_tp", "verdict_fexit"}},
					{Name: "kprobe", Programs: []string{"entry_kprobe", "verdict_raw_tp"}, Impact: "every packet takes about 160 ns longer at every netfilter hook"},
				},
				Optional: true,
				Without:  "the hook where netfilter dropped a packet is inferred from its addresses",
			},
			{
				Name:     HookUntranslated,
				Variants: joined(traceable("setup")...),
				Optional: true,
				Without:  "that no NAT rule matched is inferred from untranslated packets",
			},
			{
				Name: HookRefused,
				Variants: []Variant{
					{Name: "fentry", Programs: []string{"clash_fentry", "confirm_fexit"}},
					{Name: "kprobe", Programs: []string{"clash_kprobe", "refused_raw_tp"}, Impact: "flows that conntrack drops for another reason than a race are known by its counters only"},
				},
				Optional: true,
				Without:  "conntrack races are inferred from its counters, and the other packet is not known",
			},
			{
				Name:     HookConntrackFull,
				Variants: []Variant{{Name: "fentry", Programs: []string{"alloc_fexit"}}},
				Optional: true,
				Without:  "a full conntrack table is known by its counters only",
			},
			{
				Name:     HookRejectIPv4,
				Variants: joined(traceable("reset", "unreach")...),
				Optional: true,
				Without:  "REJECTs are inferred from a reply and a drop at the same time",
			},
			{
				Name:     HookRejectIPv6,
				Variants: joined(traceable("reset6", "unreach6")...),
				Optional: true,
				Without:  "REJECTs are inferred from a reply and a drop at the same time",
			},
			{
				Name:     HookInvalid,
				Variants: joined(probed("invalid", "malformed")),
				Optional: true,
				Without:  "why a packet is INVALID to conntrack is not known",
			},
		},
	}
}
