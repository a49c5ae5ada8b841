// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"slices"
	"testing"
)

// TestUnknownNamesAreErrors: a name that was mistyped must not pass for one that this kernel lacks.
func TestUnknownNamesAreErrors(t *testing.T) {
	for _, c := range []struct {
		options           Options
		kind, name, known string
	}{
		{Options{Probes: []string{PathProbe, "sokc"}}, "probe", "sokc", SockProbe},
		{Options{Probes: []string{PathProbe}, Optional: []string{"tsl"}}, "probe", "tsl", TLSProbe},
		{Options{Probes: []string{SockProbe}, Unwanted: []string{"reset sent"}}, "hook", "reset sent", HookResetSent},
		{Options{Probes: []string{PathProbe}, Variant: "fentri"}, "variant", "fentri", "fentry"},
		{Options{Probes: []string{CgroupProbe}, Globals: []Globals{misspelled{}}}, "variable", "selectign", "selecting"},
		{Options{Probes: []string{SockProbe}, Globals: []Globals{TapGlobals{}}}, "variable", "tap_snap", "tick_ns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, err := Open(c.options)
			if err == nil {
				t.Fatal("it is taken", tr.Close())
			}
			var unknown UnknownNameError
			if !errors.As(err, &unknown) || unknown.Kind != c.kind || unknown.Name != c.name || !slices.Contains(unknown.Known, c.known) {
				t.Errorf("error %v, want that no %s is named %s, and that there is %s", err, c.kind, c.name, c.known)
			}
		})
	}
}

// misspelled is a struct of this package that no object goes by.
type misspelled struct{}

func (misspelled) globals() map[string]any { return map[string]any{"selectign": true} }

func TestVariantsOfDevicesAreKnown(t *testing.T) {
	for _, name := range []string{"", "tcx", "clsact", "tp_btf", "kprobe.multi"} {
		if err := CheckVariant(name); err != nil {
			t.Error(err)
		}
	}
}
