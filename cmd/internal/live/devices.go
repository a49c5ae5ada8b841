// SPDX-License-Identifier: Apache-2.0

package live

import (
	"path"
	"slices"

	"ktrace/cmd/internal/flags"
	"ktrace/decoder/event"
	"ktrace/tracer/netns"
	"ktrace/tracer/procfs"
)

// absent are those of the devices and patterns in the flags that no device of the node has, in whatever namespace.
func absent(f flags.Flags) []string {
	left, found := slices.Clone(f.Devices), netns.NewFinder(procfs.New(f.HostRoot))
	if len(left) == 0 {
		return nil
	}
	for _, inode := range found.Inodes() {
		handle, err := found.Open(inode)
		if err != nil {
			continue // its last process has just ended
		}
		devices, err := handle.Devices()
		_ = handle.Close() // was only looked at
		if err != nil {
			continue
		}
		left = slices.DeleteFunc(left, func(pattern string) bool {
			return slices.ContainsFunc(devices, func(d event.Device) bool {
				ok, _ := path.Match(pattern, d.Name) // Validate looked at the patterns
				return ok
			})
		})
	}
	return left
}
