// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"slices"

	"ktrace/tracer/probe"
	"ktrace/tracer/tc"
)

// checkNames returns an UnknownNameError for the first name in the options that does not exist.
func (o Options) checkNames() error {
	var probes, hooks []string
	for _, p := range probe.All() {
		probes = append(probes, p.Name)
		for _, h := range p.Hooks {
			hooks = append(hooks, h.Name)
		}
	}
	for _, name := range slices.Concat(o.Probes, o.Optional) {
		if err := probe.CheckName("probe", name, probes); err != nil {
			return err
		}
	}
	for _, name := range o.Unwanted {
		if err := probe.CheckName("hook", name, hooks); err != nil {
			return err
		}
	}
	return CheckVariant(o.Variant)
}

// CheckVariant returns an UnknownNameError unless a hook, or package tc, has a variant of this name. The empty name is
// valid: it forces none. Other errors are those of objects that cannot be read.
func CheckVariant(name string) error {
	if name == "" {
		return nil
	}
	known := []string{tc.Netkit, tc.TCX, tc.Clsact}
	for _, p := range probe.All() {
		if _, err := p.Load(); err != nil {
			return err
		}
		for _, h := range p.Hooks {
			for _, v := range h.Variants {
				known = append(known, v.Name)
			}
		}
	}
	return probe.CheckName("variant", name, known)
}
