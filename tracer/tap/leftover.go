// SPDX-License-Identifier: Apache-2.0

package tap

import (
	"fmt"

	"ktrace/tracer/netns"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
	"ktrace/tracer/tc"
)

// Sweep removes from a namespace what a capture that was killed left there, and reports it. It costs a look at the qdiscs. What is
// not certainly a dead ktrace's, or cannot be removed, stays: it passes every packet on, to a ring that nobody reads.
func Sweep(node *procfs.FS, handle *netns.Handle, say func(string)) {
	l := tc.Leftovers{Node: node, Programs: []string{probe.TapIn, probe.TapOut}}
	if n, _ := l.Sweep(handle); n > 0 {
		say(fmt.Sprintf("removed %d TC filters that a killed ktrace left in network namespace %d", n, handle.Inode))
	}
}
