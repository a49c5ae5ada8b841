// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ktrace/tracer/procfs"
)

// fieldsOf are the words of a small file, none if it does not exist.
func fieldsOf(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil // another version, or a controller that is off
	}
	return strings.Fields(string(text))
}

// number parses an unsigned number; 0 if it is none.
func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// controlGroups are the directories of a process's control groups that may limit something, the innermost first: of the
// version 1 hierarchy that has the controller, and of version 2. There are none of a process that has ended.
func controlGroups(node *procfs.FS, pid uint32, controller string) []string {
	groups, err := node.Process(pid).Cgroups()
	if err != nil {
		return nil
	}
	mount := filepath.Join(node.HostRoot(), "sys/fs/cgroup")
	var dirs []string
	for _, g := range groups {
		switch {
		case g.Hierarchy == 0:
			dirs = append(dirs, upwards(mount, g.Path)...)
		case slices.Contains(g.Controllers, controller):
			dirs = append(dirs, upwards(filepath.Join(mount, strings.Join(g.Controllers, ",")), g.Path)...)
		}
	}
	return dirs
}

// upwards are a directory below a mount and those above it.
func upwards(mount, path string) (dirs []string) {
	for path = filepath.Join("/", path); ; path = filepath.Dir(path) {
		dirs = append(dirs, filepath.Join(mount, path))
		if path == "/" {
			return dirs
		}
	}
}
