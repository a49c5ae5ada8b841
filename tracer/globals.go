// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// Globals are values of const volatile variables of BPF objects. It is implemented by types of this package only, one for
// each object or header that declares variables. Every object of a run that has one of the variables gets its value.
type Globals interface{ globals() map[string]any }

// setGlobals sets the variables that the object has.
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

// unusedGlobals returns an UnknownNameError if none of the objects has one of the variables.
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
