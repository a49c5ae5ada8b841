// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
	"ktrace/tracer/filterjit"
	"ktrace/tracer/probe"
)

// usualFilter is like what people write who know what they look for.
const usualFilter = "tcp port 80 and (host 10.0.0.1 or net 10.244.0.0/16 or host fd00::1) and not src port 22 or icmp or udp portrange 5000-6000"

// filtered makes the path object with an expression in it, as a verb that watches everything loads it. It is nil for
// an expression that is refused where packets have no link header.
func filtered(t *testing.T, o *object, expr, variant string) *ebpf.CollectionSpec {
	t.Helper()
	parsed, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Compile(pcapfilter.LinkNetwork); err != nil {
		return nil
	}
	spec := o.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains([]string{"transmit_" + variant, "receive_" + variant, "drop_" + variant}, name)
	})
	every := []probe.Globals{probe.PathFilter{Hops: probe.AllProtocols, Drops: probe.AllProtocols, Snap: 512}, probe.Selection{Selecting: true}}
	if err := probe.SetGlobals(spec, every); err != nil {
		t.Fatal(err)
	}
	n, err := filterjit.Splice(spec, parsed)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	if n != 3 {
		t.Fatalf("%q: in %d programs, want 3", expr, n)
	}
	return spec
}

// hardest are the objects with the longest filters of all that are compared with libpcap's, and with the usual one.
func hardest(t *testing.T, o *object, variant string, n int) map[string]*ebpf.CollectionSpec {
	t.Helper()
	made := map[string]*ebpf.CollectionSpec{}
	for i, expr := range filtertest.Expressions() {
		if testing.Short() && i%4 != 0 { // where a kernel is emulated
			continue
		}
		if spec := filtered(t, o, expr, variant); spec != nil {
			made[expr] = spec
		}
	}
	size := func(expr string) int { return len(made[expr].Programs["drop_"+variant].Instructions) }
	short := slices.SortedFunc(maps.Keys(made), func(a, b string) int { return size(b) - size(a) })
	for _, expr := range short[min(n, len(short)):] {
		delete(made, expr)
	}
	made[usualFilter] = filtered(t, o, usualFilter, variant)
	return made
}

func TestFiltersLoadIntoThePathObject(t *testing.T) {
	o := loaded(t, named(t, probe.Path))
	variants, most := []string{"raw_tp", "tp_btf"}, 8
	if testing.Short() { // where a kernel is emulated
		variants, most = variants[:1], 4
	}
	for _, variant := range variants {
		for expr, spec := range hardest(t, o, variant, most) {
			c, err := ebpf.NewCollectionWithOptions(spec, beside(o))
			if err != nil {
				var ve *ebpf.VerifierError
				errors.As(err, &ve)
				t.Errorf("%q, %s: %+v", expr, variant, ve)
				continue
			}
			c.Close()
		}
	}
}

// beside has what is loaded share an object's maps, but for the constants, which distinguish them.
func beside(o *object) ebpf.CollectionOptions {
	shared := maps.Clone(o.maps)
	delete(shared, ".rodata")
	return ebpf.CollectionOptions{MapReplacements: shared, Cache: o.types.cache}
}

// functions are those that the verifier left of a program: what cannot be reached is removed.
func functions(t *testing.T, spec *ebpf.CollectionSpec, from ebpf.CollectionOptions, program string) []string {
	t.Helper()
	c, err := ebpf.NewCollectionWithOptions(spec, from)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Programs[program].Info()
	if err != nil {
		t.Fatal(err)
	}
	all, err := info.FuncInfos()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range all {
		names = append(names, f.Func.Name)
	}
	return names
}

func TestWithoutAnExpressionNothingIsLeftOfTheFilter(t *testing.T) {
	o := loaded(t, named(t, probe.Path))
	with := filtered(t, o, "tcp", "tp_btf")
	if got := functions(t, with, beside(o), "transmit_tp_btf"); !slices.Contains(got, filterjit.PacketStub) {
		t.Fatalf("with an expression there are %v", got)
	}
	without := filtered(t, o, "tcp", "tp_btf")
	if err := without.Variables["filtering"].Set(false); err != nil {
		t.Fatal(err)
	}
	got := functions(t, without, beside(o), "transmit_tp_btf")
	kept := slices.Contains(got, filterjit.PacketStub) && !testing.Short() // 5.10 keeps a global function that is never called
	if len(got) == 0 || kept || slices.Contains(got, "passes") {
		t.Errorf("without one there are %v", got)
	}
}
