package tracer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// Globals are values of the const volatile variables of BPF objects. Its implementations are the structs of this package,
// one for each object or header that declares any; every object of a run that has one of their variables gets its value.
type Globals interface{ globals() map[string]any }

// setGlobals sets those variables that the object has.
func setGlobals(spec *ebpf.CollectionSpec, given []Globals) error {
	for _, g := range given {
		for name, v := range g.globals() {
			variable, ok := spec.Variables[name]
			if !ok {
				continue // another object's: see unusedGlobals
			}
			if err := variable.Set(v); err != nil {
				return fmt.Errorf("variable %s: %w", name, err)
			}
		}
	}
	return nil
}

// unusedGlobals is an UnknownNameError if a variable is in none of the objects.
func unusedGlobals(given []Globals, specs ...*ebpf.CollectionSpec) error {
	var known []string
	for _, spec := range specs {
		known = slices.AppendSeq(known, maps.Keys(spec.Variables))
	}
	for _, g := range given {
		for name := range g.globals() {
			if err := checkName("variable", name, known); err != nil {
				return fmt.Errorf("%T: %w", g, err)
			}
		}
	}
	return nil
}
