// SPDX-License-Identifier: Apache-2.0

// Package heap has the Go runtime stay within what a run of ktrace may take, and within the limit of its control group.
package heap

import (
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// What ktrace may take, in bytes of the Go runtime; the program itself and its stacks of the kernel's take some 20 MiB more. It
// is no use to give more: everything that grows with traffic, names or files has a bound (docs/bounds.md).
const (
	Live = 72 << 20
	File = 200 << 20
)

// beside is what the control group's limit is for beside the Go runtime: the kernel's half, whose maps and rings count for the
// group that made them, some 32 MiB of diagnose; the program's own data, some 8; and as much for what the runtime takes over its
// limit while it collects. Of a small group half is for them.
const beside = 48 << 20

// Limit sets the soft limit of the Go runtime: most, or less if the control group's limit, or that of one above it, is lower.
// GOMEMLIMIT, if it is set, is the user's will, and stays. restore undoes it.
func Limit(most int64) (restore func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(of(most, memlimit.FromCgroup))
	return func() { debug.SetMemoryLimit(before) }
}

// Ring is the size of the kernel's ring for a live run, in bytes: 0, which is the tracer's own, or less where the control group's
// limit is below what a live run may take.
func Ring() uint32 { return ringOf(memlimit.FromCgroup) }

func ringOf(group memlimit.Provider) uint32 {
	const enough, small = 128 << 20, 4 << 20
	if limit, err := group(); err != nil || limit >= enough {
		return 0
	}
	return small
}

// of is the limit where the group's is what group returns. Without a group, or one that can be read, there is but most.
func of(most int64, group memlimit.Provider) int64 {
	limit, err := group()
	if err != nil || limit > math.MaxInt64 {
		return most
	}
	return min(most, max(int64(limit)-beside, int64(limit)/2))
}
