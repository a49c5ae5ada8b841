// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// NoTypesError is returned when there is no BTF of this kernel: every program needs it.
type NoTypesError struct{ Err error }

// Error implements error.
func (e NoTypesError) Error() string {
	return fmt.Sprintf("the types of this kernel (BTF): %v; give a file that has them with --btf FILE, "+
		"or use a kernel with CONFIG_DEBUG_INFO_BTF", e.Err)
}

// Unwrap returns why.
func (e NoTypesError) Unwrap() error { return e.Err }

// types are the kernel's BTF. It is megabytes, so a run decodes it once.
type types struct {
	*btf.Spec
	file  bool       // read from a file: the kernel exposes none
	cache *btf.Cache // of the kernel and its modules
}

// kernelTypes reads the running kernel's types: from file, an ELF with a .BTF section or BTF as it is, or, if file is
// empty, from the kernel itself.
func kernelTypes(file string) (types, error) {
	cache := btf.NewCache()
	load := cache.Kernel
	if file != "" {
		load = func() (*btf.Spec, error) { return btf.LoadSpec(file) }
	}
	spec, err := load()
	if err != nil {
		return types{}, NoTypesError{err}
	}
	return types{Spec: spec, file: file != "", cache: cache}, nil
}

// forLoader returns the BTF against which the loader relocates programs: nil makes it use the kernel's own and, unlike with
// a file, that of its modules.
func (t types) forLoader() *btf.Spec {
	if t.file {
		return t.Spec
	}
	return nil
}

// function reports whether the kernel or a loaded module describes a function.
func (t types) function(name string) bool {
	var f *btf.Func
	if t.TypeByName(name, &f) == nil {
		return true
	}
	modules, err := t.cache.Modules()
	return err == nil && slices.ContainsFunc(modules, func(m string) bool {
		spec, err := t.cache.Module(m)
		return err == nil && spec.TypeByName(name, &f) == nil
	})
}
