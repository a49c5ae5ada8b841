// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"time"
)

// Fsync is the name of the probe that times syncs of files.
const Fsync = "fsync"

// Hooks of the fsync object.
const (
	HookSyncWaits = "task switches during syncs"
	HookExt4      = "ext4 syncs"
	HookFsync     = "fsync and fdatasync syscalls"
	HookMsync     = "msync syscall"
	HookRange     = "sync_file_range and syncfs syscalls"
)

// fsyncHooks are all hooks of the fsync object. Which of them a run needs depends on the mounts: see fsync.Unwanted.
func fsyncHooks() []Hook {
	const everySyscall = "every syscall on the node takes about 40 ns longer while attached"
	return []Hook{
		{
			Name: HookSyncWaits, // first, so that there is no sync without its waits
			Variants: []Variant{
				{Name: "tp_btf", Programs: []string{"switch_tp_btf"}},
				{Name: "raw_tp", Programs: []string{"switch_raw_tp"}, Impact: "about 50 ns more per context switch while a sync is in flight"},
			},
			Without: "of a slow sync only the time without a CPU is reported",
		},
		{
			Name: HookExt4,
			Variants: []Variant{
				{Name: "tp_btf", Programs: []string{"ext4_enter_tp_btf", "ext4_exit_tp_btf"}},
				{Name: "raw_tp", Programs: []string{"ext4_enter_raw_tp", "ext4_exit_raw_tp"}, Impact: "75 ns more per sync and directory level"},
			},
			Without: "syncs of ext4 are not seen",
		},
		{
			Name: HookFsync,
			Variants: []Variant{{
				Name: "tracepoint", Programs: []string{"enter_fsync", "exit_fsync", "enter_fdatasync", "exit_fdatasync"}, Impact: everySyscall,
			}},
			Without: "syncs of xfs, btrfs and others are not seen",
		},
		{
			Name: HookMsync,
			Variants: []Variant{{
				Name: "tracepoint", Programs: []string{"enter_msync", "exit_msync"}, Impact: everySyscall,
			}},
			Optional: true,
			Without:  "msync on xfs, btrfs and others is not seen: kernels before 5.17 do not report what is mapped where",
		},
		{
			Name: HookRange,
			Variants: []Variant{{
				Name: "tracepoint", Programs: []string{"enter_sync_file_range", "exit_sync_file_range", "enter_syncfs", "exit_syncfs"}, Impact: everySyscall,
			}},
			Without: "sync_file_range and syncfs are not seen",
		},
	}
}

func fsyncProbe() Probe { return Probe{Name: Fsync, Hooks: fsyncHooks()} }

// FsyncGlobals are the variables of the fsync object.
type FsyncGlobals struct {
	Everything bool          // no path was named: every file counts
	AllSync    bool          // sync_file_range and syncfs on ext4 too
	ByNetns    bool          // the selection names a network namespace, not just pods
	Limit      time.Duration // slower syncs are counted
	Switches   bool          // context switches are traced, so the waits within a sync are known
}

func (g FsyncGlobals) Values() map[string]any {
	return map[string]any{
		"everything": g.Everything,
		"all_sync":   g.AllSync,
		"by_netns":   g.ByNetns,
		"limit":      uint64(g.Limit),
		"switches":   g.Switches,
	}
}
