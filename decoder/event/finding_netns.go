package event

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// AnnotateNetns adds to a finding's evidence whose the network namespaces are that it is about: the number is exact, but
// people know their node and pods. whose returns "" where that is not known.
func AnnotateNetns(f Finding, whose func(netns uint32, at time.Time) string) Finding {
	var parts []string
	for _, netns := range append([]uint32{f.About.Netns}, f.About.Others...) {
		if name := whose(netns, f.Last); netns != 0 && name != "" {
			parts = append(parts, fmt.Sprintf("netns %d is %s", netns, name))
		}
	}
	if len(parts) > 0 {
		f.Evidence = append(slices.Clone(f.Evidence), strings.Join(parts, ", "))
	}
	return f
}
