// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// AnnotateNetns adds the owners of the network namespaces that a finding names to its evidence: the inode number is exact, but
// people know their node and pods. owner returns "" where the owner is unknown.
func AnnotateNetns(f Finding, owner func(netns uint32, at time.Time) string) Finding {
	var parts []string
	for _, netns := range append([]uint32{f.About.Netns}, f.About.Others...) {
		if name := owner(netns, f.Last); netns != 0 && name != "" {
			parts = append(parts, fmt.Sprintf("netns %d is %s", netns, name))
		}
	}
	if len(parts) > 0 {
		f.Evidence = append(slices.Clone(f.Evidence), strings.Join(parts, ", "))
	}
	return f
}
