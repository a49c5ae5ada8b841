// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"slices"
	"strings"

	"ktrace/tracer/tc"
)

// UnknownNameError is returned for a name of a probe, hook, variant or variable that does not exist.
type UnknownNameError struct {
	Kind  string // "probe", "hook", "variant" or "variable"
	Name  string
	Known []string // the names that exist, sorted
}

// Error implements error.
func (e UnknownNameError) Error() string {
	return fmt.Sprintf("no %s is named %q; there are %s", e.Kind, e.Name, strings.Join(e.Known, ", "))
}

// checkName returns an UnknownNameError unless the name is known.
func checkName(kind, name string, known []string) error {
	if slices.Contains(known, name) {
		return nil
	}
	known = slices.Clone(known)
	slices.Sort(known)
	return UnknownNameError{Kind: kind, Name: name, Known: slices.Compact(known)}
}

// checkNames returns an UnknownNameError for the first name in the options that does not exist.
func (o Options) checkNames() error {
	var probes, hooks []string
	for _, p := range Probes() {
		probes = append(probes, p.Name)
		for _, h := range p.Hooks {
			hooks = append(hooks, h.Name)
		}
	}
	for _, name := range slices.Concat(o.Probes, o.Optional) {
		if err := checkName("probe", name, probes); err != nil {
			return err
		}
	}
	for _, name := range o.Unwanted {
		if err := checkName("hook", name, hooks); err != nil {
			return err
		}
	}
	return CheckVariant(o.Variant)
}

// CheckVariant returns an UnknownNameError unless a hook, or package tc, has a variant of this name. The empty name is
// valid: it forces none.
func CheckVariant(name string) error {
	if name == "" {
		return nil
	}
	known := []string{tc.Netkit, tc.TCX, tc.Clsact}
	for _, p := range Probes() {
		for _, h := range p.Hooks {
			for _, v := range h.Variants {
				known = append(known, v.Name)
			}
		}
	}
	return checkName("variant", name, known)
}
