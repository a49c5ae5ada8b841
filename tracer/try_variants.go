package tracer

import "ktrace/tracer/host"

// Examine tries every variant of every hook on this kernel, detaching each at once, and returns which would be
// taken and why the better ones were refused. btfFile is as in Options.
func Examine(btfFile string) []Taken {
	limit := host.LiftMemlock() // as Open
	kernel, err := kernelTypes(btfFile)
	if missing := host.Privileged(); missing != nil {
		err = missing
	}
	var all []Taken
	for _, p := range Probes() {
		if err != nil {
			all = append(all, refused(p, err)...)
			continue
		}
		all = append(all, examine(p, kernel, limit)...)
	}
	return all
}

func examine(p Probe, kernel types, limit error) []Taken {
	o, err := common{types: kernel, ring: defaultRing}.load(p)
	if err != nil {
		return refused(p, host.ExplainMemlock(err, limit))
	}
	together := o.takeTogether(p.Hooks, "")
	for _, h := range p.Hooks {
		o.taken = append(o.taken, o.take(h, "", together))
	}
	if err := o.close(); err != nil {
		return refused(p, err)
	}
	return o.taken
}

// refused is what became of a probe that did not get as far as its hooks.
func refused(p Probe, err error) []Taken {
	all := make([]Taken, 0, len(p.Hooks))
	for _, h := range p.Hooks {
		t := Taken{Probe: p.Name, Hook: h}
		for _, v := range h.Variants {
			t.Refusals = append(t.Refusals, Refusal{Variant: v.Name, Err: err})
		}
		all = append(all, t)
	}
	return all
}
