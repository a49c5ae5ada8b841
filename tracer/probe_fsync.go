package tracer

import (
	"time"

	"ktrace/bpf"
)

// FsyncProbe is the name of the probe that watches syncs.
const FsyncProbe = "fsync"

// Hooks of the fsync object.
const (
	HookSyncWaits = "task switches during syncs"
	HookExt4      = "ext4 syncs"
	HookFsync     = "fsync and fdatasync syscalls"
	HookMsync     = "msync syscall"
	HookRange     = "sync_file_range and syncfs syscalls"
)

// fsyncHooks are all that the fsync probe can watch; which of them a run needs, its mounts say.
func fsyncHooks() []Hook {
	const everySyscall = "every syscall of the node takes some 40 ns longer while it is attached"
	return []Hook{
		{
			Name: HookSyncWaits, // the first, so that no sync is seen whose waits are not
			Variants: []Variant{
				{Name: "tp_btf", Programs: []string{"switch_tp_btf"}},
				{Name: "raw_tp", Programs: []string{"switch_raw_tp"}, Impact: "some 50 ns more a switch of tasks, but only while a sync is on its way"},
			},
			Without: "of a slow sync only the time without a CPU is reported",
		},
		{
			Name: HookExt4,
			Variants: []Variant{
				{Name: "tp_btf", Programs: []string{"ext4_enter_tp_btf", "ext4_exit_tp_btf"}},
				{Name: "raw_tp", Programs: []string{"ext4_enter_raw_tp", "ext4_exit_raw_tp"}, Impact: "75 ns more a sync for every directory level"},
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
			Without: "these two are not seen",
		},
	}
}

func fsyncProbe() Probe { return Probe{Name: FsyncProbe, Load: bpf.LoadFsync, Hooks: fsyncHooks()} }

// FsyncGlobals are what the fsync object is told by its variables.
type FsyncGlobals struct {
	Everything bool          // no path was named: every file counts
	AllSync    bool          // sync_file_range and syncfs on ext4 too
	ByNetns    bool          // the selection names a network namespace, not just pods
	Limit      time.Duration // slower syncs are counted
	Switches   bool          // task switches are watched: it is known what a task sleeps for
}

func (g FsyncGlobals) globals() map[string]any {
	return map[string]any{
		"everything": g.Everything,
		"all_sync":   g.AllSync,
		"by_netns":   g.ByNetns,
		"limit":      uint64(g.Limit),
		"switches":   g.Switches,
	}
}
