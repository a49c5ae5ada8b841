package decoder

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// spaces finds the network namespaces that a text speaks of.
var spaces = regexp.MustCompile(`\bnetns (\d+)`)

// located adds to a finding's evidence whose the network namespaces are that it names by number: the number is exact,
// but people know their node and pods. whose returns "" where that is not known.
func located(f Finding, whose func(netns uint32, at time.Time) string) Finding {
	var parts []string
	for _, text := range append([]string{f.Title, f.Subject}, f.Evidence...) {
		for _, match := range spaces.FindAllStringSubmatch(text, -1) {
			number, err := strconv.ParseUint(match[1], 10, 32)
			if err != nil {
				continue // not one of the kernel's
			}
			name := whose(uint32(number), f.Last)
			if part := fmt.Sprintf("%s is %s", match[0], name); name != "" && !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
	}
	if len(parts) > 0 {
		f.Evidence = append(slices.Clone(f.Evidence), strings.Join(parts, ", "))
	}
	return f
}
