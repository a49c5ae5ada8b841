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

// The licences of the project's own files. Programs that call the kernel's GPL-only helpers must be under a licence that is
// compatible with the GPL: their section "license" says "Dual BSD/GPL".
const (
	userSpace = "Apache-2.0"
	inKernel  = "(GPL-2.0-only OR BSD-2-Clause)"
)

// labelOf returns the line that a source file must have; false for one that is not a source file, or is generated.
func labelOf(name, text string) (line string, ok bool) {
	if first, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, "// Code generated ") {
		return "", false
	}
	const id = "SPDX-License-Identifier: "
	switch filepath.Ext(name) {
	case ".go":
		return "// " + id + userSpace, true
	case ".c":
		return "// " + id + inKernel, true
	case ".h":
		return "/* " + id + inKernel + " */", true
	}
	if strings.HasPrefix(text, "#!") || filepath.Base(name) == "Makefile" {
		return "# " + id + userSpace, true
	}
	return "", false
}

// labelled is a file's text with its line: the first, or the second where the first names an interpreter.
func labelled(text, line string) string {
	switch {
	case strings.HasPrefix(text, "#!"):
		first, rest, _ := strings.Cut(text, "\n")
		return first + "\n" + line + "\n" + rest
	case strings.HasPrefix(line, "//"): // a blank line keeps it out of Go's documentation
		return line + "\n\n" + text
	}
	return line + "\n" + text
}

// isLabelled reports whether a file has its line where labelled puts it.
func isLabelled(text, line string) bool {
	lines := strings.SplitN(text, "\n", 3)
	return lines[0] == line || strings.HasPrefix(text, "#!") && len(lines) > 1 && lines[1] == line
}

// unlabelled calls found for each of the project's source files that lacks its line.
func unlabelled(root string, found func(path, text, line string) error) error {
	list, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(list), "\x00"), "\x00") {
		path := filepath.Join(root, name)
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) { // removed, and git does not know yet
			continue
		}
		if err != nil {
			return err
		}
		if line, ok := labelOf(name, string(raw)); ok && !isLabelled(string(raw), line) {
			if err := found(path, string(raw), line); err != nil {
				return err
			}
		}
	}
	return nil
}

// label adds the lines that are missing.
func label(root string) error {
	return unlabelled(root, func(path, text, line string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(labelled(text, line)), info.Mode().Perm())
	})
}
