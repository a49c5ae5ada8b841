// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// object is one that sends a record of this kind.
func object(t *testing.T, name string, number uint64) *ebpf.CollectionSpec {
	t.Helper()
	types, err := btf.NewBuilder([]btf.Type{&btf.Enum{Name: "kind", Size: 4, Values: []btf.EnumValue{{Name: name, Value: number}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := types.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return &ebpf.CollectionSpec{Types: spec, Maps: map[string]*ebpf.MapSpec{"counters": {MaxEntries: 16}}}
}

func TestKindsOfObjectsDiffer(t *testing.T) {
	k := newKinds()
	if err := k.add("path", object(t, "KIND_HOP", 2)); err != nil {
		t.Fatal(err)
	}
	for want, other := range map[string]*ebpf.CollectionSpec{
		"KIND_NEW is 2, as KIND_HOP of path":        object(t, "KIND_NEW", 2),
		"KIND_NEW is 1, as KIND_FACT of user space": object(t, "KIND_NEW", factKind),
		"KIND_NEW is 11, as KIND_NETNS of event.h":  object(t, "KIND_NEW", netnsKind),
		"KIND_NEW is 16, not below MAX_KINDS":       object(t, "KIND_NEW", 16),
	} {
		if err := k.add("new", other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := k.add("tls", object(t, "KIND_HANDSHAKE", 9)); err != nil {
		t.Fatal(err)
	}
	want := "\tKindFact Kind = 1\n\tKindHop Kind = 2\n\tKindHandshake Kind = 9\n\tKindNetns Kind = 11\n\tKindEnd Kind = 12"
	if got := k.declaration(); !strings.Contains(got, strings.ReplaceAll(want, "\t", "")) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
