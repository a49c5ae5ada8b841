package tracer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Examine tries every variant of every hook on this kernel, detaching each at once, and returns which would be
// taken and why the better ones were refused. btfFile is as in Options.
func Examine(btfFile string) []Taken {
	limit := rlimit.RemoveMemlock() // as Open
	kernel, err := kernelTypes(btfFile)
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
		return refused(p, explainMemlock(err, limit))
	}
	for _, h := range p.Hooks {
		o.taken = append(o.taken, o.take(h, ""))
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

// explainMemlock adds the likely reason, and the remedy, where making a map or a program was not permitted though the
// capabilities are there and the limit, which matters to this kernel, could not be raised.
func explainMemlock(err, limit error) error {
	if limit != nil && errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", err, ErrMemlock)
	}
	return err
}

// explainLockdown adds the reason, and the remedy, where nothing loads because the kernel is locked down.
func explainLockdown(err error) error {
	if c := checkLockdown(); !c.OK && errors.Is(err, ErrNoVariant) {
		return fmt.Errorf("%w\nlockdown is %s: %s; %s", err, c.Found, c.Costs, c.Remedy)
	}
	return err
}
