// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
)

const suffix = "_bpfel.o"

// objects are those that are committed, by the names of their files.
//
//go:embed *_bpfel.o
var objects embed.FS

// Names are those of the objects, sorted: bpf/NAME.bpf.c.
func Names() []string {
	files, _ := fs.Glob(objects, "*"+suffix) // the pattern is well formed
	for i, file := range files {
		files[i] = strings.TrimSuffix(file, suffix)
	}
	return files
}

// Load reads an object: its programs, maps and variables. It makes no system call.
func Load(name string) (*ebpf.CollectionSpec, error) {
	object, err := objects.ReadFile(name + suffix)
	if err != nil {
		return nil, fmt.Errorf("bpf object %s: %w", name, err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("bpf object %s: %w", name, err)
	}
	return spec, nil
}
