// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

const (
	factKind  = 1  // of the facts that user space adds to the stream. No object may use it
	netnsKind = 11 // of the headers by which any object announces a network namespace, KIND_NETNS of event.h
)

// kinds are the kinds of record of all objects, and the object of each, by their numbers.
type kinds struct {
	names  map[uint64]string // as in C: KIND_HOP
	object map[uint64]string
}

func newKinds() kinds {
	return kinds{names: map[uint64]string{factKind: "KIND_FACT", netnsKind: "KIND_NETNS"},
		object: map[uint64]string{factKind: "user space", netnsKind: "event.h"}}
}

// add takes enum kind of one object. It fails if another object has one of the numbers, or the map of counters no
// room for it.
func (k kinds) add(object string, spec *ebpf.CollectionSpec) error {
	var enum *btf.Enum
	if err := spec.Types.TypeByName("kind", &enum); err != nil {
		return err
	}
	for _, v := range enum.Values {
		if other, ok := k.object[v.Value]; ok {
			return fmt.Errorf("%s is %d, as %s of %s", v.Name, v.Value, k.names[v.Value], other)
		}
		if most := spec.Maps["counters"].MaxEntries; v.Value >= uint64(most) {
			return fmt.Errorf("%s is %d, not below MAX_KINDS, which is %d", v.Name, v.Value, most)
		}
		k.names[v.Value], k.object[v.Value] = v.Name, object
	}
	return nil
}

// declaration is the Go type of the kinds, and a constant for each.
func (k kinds) declaration() string {
	var b strings.Builder
	b.WriteString("// Kind is the kind of a record.\ntype Kind uint32\n\nconst (\n")
	numbers := slices.Sorted(maps.Keys(k.names))
	for _, n := range numbers {
		fmt.Fprintf(&b, "%s Kind = %d\n", camel("_"+strings.ToLower(k.names[n])), n)
	}
	fmt.Fprintf(&b, "KindEnd Kind = %d // one more than the last\n)\n\n", numbers[len(numbers)-1]+1)
	return b.String()
}
