// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"slices"
	"testing"

	"ktrace/tracer/probe"
)

// TestUnknownNamesAreErrors: a name that was mistyped must not pass for one that this kernel lacks.
func TestUnknownNamesAreErrors(t *testing.T) {
	for _, c := range []struct {
		options           Options
		kind, name, known string
	}{
		{Options{Probes: []string{probe.Path, "sokc"}}, "probe", "sokc", probe.Sock},
		{Options{Probes: []string{probe.Path}, Optional: []string{"tsl"}}, "probe", "tsl", probe.TLS},
		{Options{Probes: []string{probe.Sock}, Unwanted: []string{"reset sent"}}, "hook", "reset sent", probe.HookResetSent},
		{Options{Probes: []string{probe.Path}, Variant: "fentri"}, "variant", "fentri", "fentry"},
		{Options{Probes: []string{probe.Cgroup}, Globals: []probe.Globals{misspelled{}}}, "variable", "selectign", "selecting"},
		{Options{Probes: []string{probe.Sock}, Globals: []probe.Globals{probe.TapGlobals{}}}, "variable", "tap_snap", "tick_ns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, err := Open(c.options)
			if err == nil {
				t.Fatal("it is taken", tr.Close())
			}
			var unknown probe.UnknownNameError
			if !errors.As(err, &unknown) || unknown.Kind != c.kind || unknown.Name != c.name || !slices.Contains(unknown.Known, c.known) {
				t.Errorf("error %v, want that no %s is named %s, and that there is %s", err, c.kind, c.name, c.known)
			}
		})
	}
}

// misspelled is a struct of this package that no object goes by.
type misspelled struct{}

func (misspelled) Values() map[string]any { return map[string]any{"selectign": true} }

func TestVariantsOfDevicesAreKnown(t *testing.T) {
	for _, name := range []string{"", "tcx", "clsact", "tp_btf", "kprobe.multi"} {
		if err := CheckVariant(name); err != nil {
			t.Error(err)
		}
	}
}
