package tracer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Examine tries every variant of every hook on this kernel, detaching each at once, and returns which would be
// taken and why the better ones were refused. btfFile is as in Options.
func Examine(btfFile string) []Taken {
	limit := liftMemlock() // as Open
	kernel, err := kernelTypes(btfFile)
	if missing := Privileged(); missing != nil {
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
		return refused(p, explainMemlock(err, limit))
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

// explain adds to what the kernel said why that is likely, and what helps. limit is what liftMemlock returned.
func explain(err, limit error) error {
	return explainSELinux(explainLockdown(explainMemlock(err, limit)), selinuxEnforces())
}

// explainMemlock adds the likely reason, and the remedy, where making a map or a program was not permitted though the
// capabilities are there and the limit, which matters to this kernel, could not be raised.
func explainMemlock(err, limit error) error {
	if limit != nil && errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", err, ErrMemlock)
	}
	return err
}

// explainSELinux adds the likely reason, and the remedy, where access was denied though the verifier found no fault.
func explainSELinux(err error, enforcing bool) error {
	var fault *ebpf.VerifierError
	if !enforcing || !errors.Is(err, unix.EACCES) || errors.As(err, &fault) {
		return err
	}
	return fmt.Errorf("%w\nSELinux is enforcing: %s", err, selinuxRemedy)
}

// plain is an error of the loader's without its advice to raise the memlock limit: that was done, or is said in words that
// a user knows.
type plain struct{ error }

// Error implements error.
func (p plain) Error() string {
	return strings.ReplaceAll(p.error.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
}

// Unwrap returns it as it was.
func (p plain) Unwrap() error { return p.error }

// explainLockdown adds the reason, and the remedy, where nothing loads because the kernel is locked down.
func explainLockdown(err error) error {
	if c := checkLockdown(); !c.OK && errors.Is(err, ErrNoVariant) {
		return fmt.Errorf("%w\nlockdown is %s: %s; %s", err, c.Found, c.Costs, c.Remedy)
	}
	return err
}
