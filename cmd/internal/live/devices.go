package live

import (
	"path"
	"slices"

	"ktrace/cmd/internal/flags"
	"ktrace/decoder"
	"ktrace/tracer/netns"
)

// absent are those of the devices and patterns in the flags that no device of the node has, in whatever namespace.
func absent(f flags.Flags) []string {
	left, seen := slices.Clone(f.Devices), map[uint32]bool{}
	for file := range netns.Paths(f.HostRoot) {
		if len(left) == 0 {
			break
		}
		if inode, err := netns.Inode(file); err != nil || seen[inode] {
			continue
		}
		space, err := netns.Open(file)
		if err != nil {
			continue // its last process has just ended
		}
		seen[space.Inode] = true
		devices, err := space.Devices()
		_ = space.Close() // was only looked at
		if err != nil {
			continue
		}
		left = slices.DeleteFunc(left, func(pattern string) bool {
			return slices.ContainsFunc(devices, func(d decoder.Device) bool {
				ok, _ := path.Match(pattern, d.Name) // Validate looked at the patterns
				return ok
			})
		})
	}
	return left
}
