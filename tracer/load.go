// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ktrace/tracer/host"
	"ktrace/tracer/probe"
)

// ErrNoVariant is returned when no variant of a required hook works on this kernel.
var ErrNoVariant = errors.New("no variant works on this kernel")

// VariantError is why a variant does not work on this kernel.
type VariantError struct {
	Variant string
	Err     error
}

// HookStatus is which variant serves a hook, and why better ones do not.
type HookStatus struct {
	Probe   string
	Hook    probe.Hook
	Variant *probe.Variant // nil if none worked
	Errors  []VariantError
}

// object is one loaded probe. It keeps every link: the garbage collector closes a link without references, and that
// detaches its program.
type object struct {
	probe    probe.Probe
	spec     *ebpf.CollectionSpec
	types    types
	maps     map[string]*ebpf.Map
	programs map[string]*ebpf.Program
	links    []io.Closer
	status   []HookStatus
	missed   uint64 // recursion misses of programs that are closed

	noTrampolines bool // the kernel refuses fentry and fexit
}

// common is what all objects of a run share.
type common struct {
	types   types
	globals []probe.Globals
	shared  map[string]*ebpf.Map // by name; nil until the first object makes it
	ring    uint32               // bytes
	splice  func(*ebpf.CollectionSpec) error
}

// load creates the maps of a probe. It uses those in shared instead of the probe's own; where shared has the name with a
// nil map, it adds the new one.
func (c common) load(p probe.Probe) (*object, error) {
	spec, err := p.Load()
	if err != nil {
		return nil, err
	}
	if err := c.setGlobals(p, spec); err != nil {
		return nil, err
	}
	if c.splice != nil {
		if err := c.splice(spec); err != nil {
			return nil, err
		}
	}
	ring := spec.Maps[ringName]
	ring.MaxEntries = c.ring
	ring.Value, ring.ValueSize = nil, 0 // the type is declared for bpf2go only
	replace := map[string]*ebpf.Map{}
	for name, m := range c.shared {
		if m != nil && spec.Maps[name] != nil {
			replace[name] = m
		}
	}
	made, err := ebpf.NewCollectionWithOptions(part(spec), ebpf.CollectionOptions{MapReplacements: replace, Cache: c.types.cache})
	if err != nil {
		return nil, fmt.Errorf("%s: maps: %w", p.Name, host.PlainError{Err: err})
	}
	o := &object{probe: p, spec: spec, types: c.types, maps: made.Maps, programs: map[string]*ebpf.Program{}}
	made.Maps = nil // ours now
	made.Close()
	for name, m := range c.shared {
		if m == nil {
			c.shared[name] = o.maps[name]
		}
	}
	return o, nil
}

// setGlobals sets the object's const volatile variables: those of the options that it has, and those that depend on the
// kernel, all of which it must have.
func (c common) setGlobals(p probe.Probe, spec *ebpf.CollectionSpec) error {
	all := c.globals
	if p.Kernel != nil {
		kernel := p.Kernel(c.types.Spec)
		if err := probe.UnusedGlobals(kernel, spec); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		all = slices.Concat(all, kernel)
	}
	if err := probe.SetGlobals(spec, all); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// attach loads and attaches the best variant of every hook. force, if not empty, names the only variant to try
// wherever a hook has it; unwanted hooks, by name, are left out.
func (o *object) attach(force string, unwanted []string) error {
	hooks := slices.DeleteFunc(slices.Clone(o.probe.Hooks), func(h probe.Hook) bool { return slices.Contains(unwanted, h.Name) })
	multi := o.attachKprobeMulti(hooks, force)
	for _, h := range hooks {
		t := o.attachHook(h, force, multi)
		o.status = append(o.status, t)
		if t.Variant == nil && !h.Optional {
			return fmt.Errorf("%s: %s: %w", o.probe.Name, h.Name, t.reason())
		}
	}
	return nil
}

func (t HookStatus) reason() error {
	errs := []error{ErrNoVariant}
	for _, r := range t.Errors {
		errs = append(errs, fmt.Errorf("%s: %w", r.Variant, r.Err))
	}
	return errors.Join(errs...)
}

// attachHook loads and attaches the best variant of a hook. multi are the results of attachKprobeMulti.
func (o *object) attachHook(h probe.Hook, force string, multi map[string]error) HookStatus {
	t := HookStatus{Probe: o.probe.Name, Hook: h}
	for _, v := range candidates(h, force) {
		// Kernels without a program type return ENOTSUPP, locked-down kernels EPERM, others EINVAL: whatever the
		// error, the next variant is tried.
		err := multi[h.Name]
		if !v.Multi {
			err = o.tryVariant(v)
		}
		if err != nil {
			t.Errors = append(t.Errors, VariantError{Variant: v.Name, Err: err})
			continue
		}
		t.Variant = &v
		return t
	}
	return t
}

// candidates are the variants to try: the forced one if the hook has it, else all.
func candidates(h probe.Hook, force string) []probe.Variant {
	for i, v := range h.Variants {
		if v.Name == force {
			return h.Variants[i : i+1]
		}
	}
	return h.Variants
}

// tryVariant loads and attaches all programs of a variant, or none.
func (o *object) tryVariant(v probe.Variant) error {
	programs, err := o.loadVariant(v)
	if err != nil {
		return err
	}
	links := make([]io.Closer, 0, len(v.Programs))
	for _, name := range v.Programs {
		spec := o.spec.Programs[name]
		if spec.Type == ebpf.SchedCLS {
			continue // Options.Attach attaches it to devices
		}
		l, err := attachProgram(spec, programs[name])
		if err != nil {
			return errors.Join(fmt.Errorf("attach %s: %w", name, err), closeAll(links), closePrograms(programs))
		}
		links = append(links, l)
	}
	o.links = append(o.links, links...)
	maps.Copy(o.programs, programs)
	return nil
}

// loadVariant loads all programs of a variant, or none: first those for trampolines, which some kernels refuse before they
// verify anything.
func (o *object) loadVariant(v probe.Variant) (map[string]*ebpf.Program, error) {
	var first, rest []string
	for _, name := range v.Programs {
		spec := o.spec.Programs[name]
		if spec == nil {
			return nil, fmt.Errorf("object lacks program %s", name)
		}
		if err := o.mayLoad(spec); err != nil {
			return nil, err
		}
		if forTrampoline(spec) {
			first = append(first, name)
		} else {
			rest = append(rest, name)
		}
	}
	programs := map[string]*ebpf.Program{}
	for _, name := range append(first, rest...) {
		c, err := o.loadPrograms(part(o.spec, name))
		if err != nil {
			o.noTrampolines = o.noTrampolines || forTrampoline(o.spec.Programs[name]) && errors.Is(err, unix.EPERM)
			return nil, errors.Join(err, closePrograms(programs))
		}
		programs[name] = c.DetachProgram(name)
		c.Close() // of it only the maps are left, which are copies
	}
	return programs, nil
}

// mayLoad returns why a program cannot be loaded or attached, before the loader and the verifier spend time on it. A kernel
// that answers EPERM to one program for a trampoline does so to all.
func (o *object) mayLoad(spec *ebpf.ProgramSpec) error {
	if o.noTrampolines && forTrampoline(spec) {
		return fmt.Errorf("program %s: load program: %w", spec.Name, unix.EPERM)
	}
	return mayAttach(spec)
}

// forTrampoline reports whether a program is called by a function's trampoline: fentry and fexit.
func forTrampoline(spec *ebpf.ProgramSpec) bool {
	return spec.AttachType == ebpf.AttachTraceFEntry || spec.AttachType == ebpf.AttachTraceFExit
}

func closePrograms(programs map[string]*ebpf.Program) error {
	var errs []error
	for _, p := range programs {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// part is an object with some of its programs. The loader copies what it changes; spec.Copy would copy each instruction of
// all programs, for each variant.
func part(spec *ebpf.CollectionSpec, programs ...string) *ebpf.CollectionSpec {
	some := *spec
	some.Programs = maps.Clone(spec.Programs)
	maps.DeleteFunc(some.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(programs, name) })
	return &some
}

// loadPrograms loads programs that use the object's maps.
func (o *object) loadPrograms(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	only := *spec
	only.Variables = nil // they are set; the loader would map the memory of each
	c, err := ebpf.NewCollectionWithOptions(&only, ebpf.CollectionOptions{
		MapReplacements: o.maps,
		Programs:        ebpf.ProgramOptions{KernelTypes: o.types.forLoader()},
		Cache:           o.types.cache,
	})
	if err != nil {
		return nil, host.PlainError{Err: err}
	}
	return c, nil
}

// closeAll closes links in parallel: closing waits for an RCU or RCU-tasks grace period.
func closeAll(links []io.Closer) error {
	errs := make([]error, len(links))
	var all sync.WaitGroup
	for i, l := range links {
		all.Go(func() { errs[i] = l.Close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// skipped is how often a program did not run because it was running on that CPU already: in an interrupt, or after a
// context switch. The kernel counts recursion misses since 5.12 (commit 9ed9e9ba2337, "bpf: Count the number of times
// recursion was prevented").
func (o *object) skipped() uint64 {
	n := o.missed
	for _, p := range o.programs {
		if stats, err := p.Stats(); err == nil {
			n += stats.RecursionMisses
		}
	}
	return n
}

// detachAll detaches the programs of all objects, all links in parallel: links of different types wait for different grace
// periods.
func detachAll(objects []*object) error {
	var links []io.Closer
	for _, o := range objects {
		links = append(links, o.links...)
		o.links = nil
	}
	errs := []error{closeAll(links)}
	for _, o := range objects {
		errs = append(errs, o.detach())
	}
	return errors.Join(errs...)
}

// detach detaches and closes all programs; the maps stay readable.
func (o *object) detach() error {
	errs := []error{closeAll(o.links)}
	o.missed = o.skipped()
	errs = append(errs, closePrograms(o.programs))
	o.links = nil
	clear(o.programs)
	return errors.Join(errs...)
}

func (o *object) close() error {
	errs := []error{o.detach()}
	for _, m := range o.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
