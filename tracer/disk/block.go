// SPDX-License-Identifier: Apache-2.0

// Package disk reads what slows a sync down beside the disk itself: who else writes to it, and what control groups allow.
package disk

import (
	"os"
	"path/filepath"
	"strings"
)

// maxStacked is how many devices may lie below one.
const maxStacked = 32

// disksBelow are a device, as major:minor, and those below it: the disk of a partition, the parts of a mapped or
// assembled device. The last is one at the bottom. root is where the node's file system is.
func disksBelow(root, device string) []string {
	found := []string{device}
	for i := 0; i < len(found) && len(found) < maxStacked; i++ {
		dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/dev/block", found[i]))
		if err != nil {
			continue // no block device: btrfs numbers its subvolumes
		}
		below, _ := filepath.Glob(filepath.Join(dir, "slaves/*/dev")) // the pattern is well formed
		if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
			below = append(below, filepath.Join(filepath.Dir(dir), "dev"))
		}
		for _, file := range below {
			if text, err := os.ReadFile(file); err == nil {
				found = append(found, strings.TrimSpace(string(text)))
			}
		}
	}
	return found
}
