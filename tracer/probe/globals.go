// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// Globals are values of const volatile variables of BPF objects. There is a type for each object or header that declares
// variables. Every object of a run that has one of the variables gets its value.
type Globals interface{ Values() map[string]any }

// SetGlobals sets the variables that the object has.
func SetGlobals(spec *ebpf.CollectionSpec, given []Globals) error {
	for _, g := range given {
		for name, v := range g.Values() {
			variable, ok := spec.Variables[name]
			if !ok {
				continue // another object's: see UnusedGlobals
			}
			if err := variable.Set(v); err != nil {
				return fmt.Errorf("variable %s: %w", name, err)
			}
		}
	}
	return nil
}

// UnusedGlobals returns an UnknownNameError if none of the objects has one of the variables.
func UnusedGlobals(given []Globals, specs ...*ebpf.CollectionSpec) error {
	var known []string
	for _, spec := range specs {
		known = slices.AppendSeq(known, maps.Keys(spec.Variables))
	}
	for _, g := range given {
		for name := range g.Values() {
			if err := CheckName("variable", name, known); err != nil {
				return fmt.Errorf("%T: %w", g, err)
			}
		}
	}
	return nil
}
