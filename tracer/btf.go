package tracer

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// NoTypesError is returned when nothing says how this kernel lays out its structs: every program needs that.
type NoTypesError struct{ Err error }

// Error implements error.
func (e NoTypesError) Error() string {
	return fmt.Sprintf("the types of this kernel (BTF): %v; give a file that has them with --btf FILE, "+
		"or use a kernel with CONFIG_DEBUG_INFO_BTF", e.Err)
}

// Unwrap returns why.
func (e NoTypesError) Unwrap() error { return e.Err }

// types are how this kernel lays out its structs. They are megabytes to decode, so one run does it once.
type types struct {
	*btf.Spec
	file  bool       // read from a file: the kernel itself does not tell
	cache *btf.Cache // of the kernel's own and its modules'
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

// forLoader returns what programs are fitted to instead of the running kernel: nil leaves it to the loader to find the
// kernel's own types and, unlike in a file, those of its modules.
func (t types) forLoader() *btf.Spec {
	if t.file {
		return t.Spec
	}
	return nil
}

// function reports whether the kernel has a function that programs can run at, or a module that is loaded does.
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
