// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"maps"
	"slices"
	"testing"

	"ktrace/bpf"
)

// TestEveryObjectIsAProbe: an object needs no row, and a row has an object.
func TestEveryObjectIsAProbe(t *testing.T) {
	var names []string
	for _, p := range All() {
		if _, err := p.Load(); err != nil {
			t.Error(err)
		}
		names = append(names, p.Name)
	}
	slices.Sort(names)
	if objects := slices.Sorted(maps.Keys(bpf.Loaders())); !slices.Equal(names, objects) {
		t.Errorf("probes %v, objects %v", names, objects)
	}
}

// TestSectionsAreVariants: of an object that nothing is said about, all programs of a type of section are a variant.
func TestSectionsAreVariants(t *testing.T) {
	p := Probe{Name: Path, Hooks: []Hook{{Name: Path}}}
	if _, err := p.Load(); err != nil {
		t.Fatal(err)
	}
	want := []Variant{
		{Name: "tp_btf", Programs: []string{"drop_tp_btf", "receive_tp_btf", "transmit_tp_btf"}},
		{Name: "raw_tp", Programs: []string{"drop_raw_tp", "receive_raw_tp", "transmit_raw_tp"}},
	}
	same := func(a, b Variant) bool { return a.Name == b.Name && slices.Equal(a.Programs, b.Programs) }
	if !slices.EqualFunc(p.Hooks[0].Variants, want, same) {
		t.Errorf("variants %+v, want %+v", p.Hooks[0].Variants, want)
	}
}
