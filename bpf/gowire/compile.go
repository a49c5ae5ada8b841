// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// compile makes every *.bpf.c an object and its Go file by bpf2go, and returns the objects' names, sorted.
func compile() ([]string, error) {
	sources, err := filepath.Glob("*.bpf.c")
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, errors.New("no *.bpf.c here")
	}
	var names []string
	for _, source := range sources {
		name := strings.TrimSuffix(source, ".bpf.c")
		names = append(names, name)
		cmd := exec.Command("go", "tool", "bpf2go", "-tags", "linux", "-target", "bpfel", "-cc", "clang", "-strip", "llvm-strip",
			"-cflags", "-O2 -g -Wall -Werror -Iinclude", camel("_"+name), source)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
	}
	return names, nil
}
