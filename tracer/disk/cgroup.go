package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// fieldsOf are the words of a small file, none if it is not there.
func fieldsOf(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil // another version, or a controller that is off
	}
	return strings.Fields(string(text))
}

// number reads a number; what is none, or less than none, is 0.
func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// controlGroups are the directories of a process's control groups that may limit something, the innermost first: of the
// version 1 hierarchy that has the controller, and of version 2.
func controlGroups(root string, pid uint32, controller string) []string {
	text, err := os.ReadFile(filepath.Join(root, "proc", fmt.Sprint(pid), "cgroup"))
	if err != nil {
		return nil // it has ended
	}
	var dirs []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) < 3 {
			continue
		}
		mount := ""
		switch {
		case slices.Contains(strings.Split(parts[1], ","), controller):
			mount = filepath.Join(root, "sys/fs/cgroup", parts[1])
		case parts[0] == "0":
			mount = filepath.Join(root, "sys/fs/cgroup")
		default:
			continue
		}
		for path := filepath.Clean(parts[2]); ; path = filepath.Dir(path) {
			dirs = append(dirs, filepath.Join(mount, path))
			if path == "/" || path == "." {
				break
			}
		}
	}
	return dirs
}
