// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"ktrace/tracer/host"

	"ktrace/tracer/probe"
)

// ProbeVariants attaches every hook on this kernel, detaches it at once, and returns which variant works and the errors of
// better ones. btfFile is as in Options.BTF.
func ProbeVariants(btfFile string) []HookStatus {
	limit := host.LiftMemlock() // as Open
	kernel, err := kernelTypes(btfFile)
	if missing := host.Privileged(); missing != nil {
		err = missing
	}
	var all []HookStatus
	for _, p := range probe.All() {
		if err != nil {
			all = append(all, refused(p, err)...)
			continue
		}
		all = append(all, probeVariants(p, kernel, limit)...)
	}
	return all
}

func probeVariants(p probe.Probe, kernel types, limit error) []HookStatus {
	o, err := common{types: kernel, ring: defaultRing}.load(p)
	if err != nil {
		return refused(p, host.ExplainMemlock(err, limit))
	}
	multi := o.attachKprobeMulti(o.probe.Hooks, "")
	for _, h := range o.probe.Hooks {
		o.status = append(o.status, o.attachHook(h, "", multi))
	}
	if err := o.close(); err != nil {
		return refused(p, err)
	}
	return o.status
}

// refused is the status of all hooks of a probe that does not load: every variant has the error.
func refused(p probe.Probe, err error) []HookStatus {
	if _, broken := p.Load(); broken != nil {
		err = broken
	}
	all := make([]HookStatus, 0, len(p.Hooks))
	for _, h := range p.Hooks {
		t := HookStatus{Probe: p.Name, Hook: h}
		for _, v := range h.Variants {
			t.Errors = append(t.Errors, VariantError{Variant: v.Name, Err: err})
		}
		all = append(all, t)
	}
	return all
}
