package tracer

import "ktrace/tracer/host"

// ProbeVariants tries every variant of every hook on this kernel, detaching each at once, and returns which would be
// taken and why the better ones were refused. btfFile is as in Options.
func ProbeVariants(btfFile string) []HookStatus {
	limit := host.LiftMemlock() // as Open
	kernel, err := kernelTypes(btfFile)
	if missing := host.Privileged(); missing != nil {
		err = missing
	}
	var all []HookStatus
	for _, p := range Probes() {
		if err != nil {
			all = append(all, refused(p, err)...)
			continue
		}
		all = append(all, probeVariants(p, kernel, limit)...)
	}
	return all
}

func probeVariants(p Probe, kernel types, limit error) []HookStatus {
	o, err := common{types: kernel, ring: defaultRing}.load(p)
	if err != nil {
		return refused(p, host.ExplainMemlock(err, limit))
	}
	multi := o.attachKprobeMulti(p.Hooks, "")
	for _, h := range p.Hooks {
		o.status = append(o.status, o.attachHook(h, "", multi))
	}
	if err := o.close(); err != nil {
		return refused(p, err)
	}
	return o.status
}

// refused is what became of a probe that did not get as far as its hooks.
func refused(p Probe, err error) []HookStatus {
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
