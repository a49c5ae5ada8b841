// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/tracer/fsync"
	"ktrace/tracer/procfs"
)

// newFsync is the verb about syncs of files.
func newFsync(s replay.Streams) *cobra.Command {
	var o fsyncOptions
	c := &cobra.Command{
		Use:   "fsync",
		Short: "latency of fsync and its like under a path, as fio prints it, and the etcd verdict",
		Long: `Counts every sync of a file below --path: fsync, fdatasync, writes with O_SYNC, O_DSYNC or RWF_DSYNC,
msync, io_uring. At the end, and every --interval, it prints the percentiles as fio does, for etcd's log (wal),
its database (db), directories and other files apart; the ten slowest; those still in flight; and whether the
99th percentile is within --limit.

Files count by where they are, not by the name they were opened with: those opened before ktrace started, renamed
since, or seen through a bind mount or an overlay of another mount namespace are the same files. Without --path
every file system with a disk below it is watched. With --pid, paths are those of that process's container.

ext4 is watched at its own tracepoints, which cost other syscalls nothing. Other file systems need the syscalls'
tracepoints: they are attached only if one is mounted at or below a path, and then cost every syscall of the node
some 40 ns; on such file systems synchronous writes and io_uring are not seen. File systems in memory are watched
only if a path names them.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.strict = c.Flags().Changed("limit")
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(c.Context(), s)
		},
	}
	f := c.Flags()
	o.Add(f)
	o.AddLive(f)
	f.StringArrayVar(&o.paths, "path", nil, "only files below this directory (repeatable)")
	f.DurationVar(&o.limit, "limit", syncLimit, "what P99 is held against: etcd's log alone, or all files if given")
	o.addView(f)
	f.BoolVar(&o.allSync, "all-sync", false, "on ext4, count sync_file_range and syncfs too; costs every syscall some 40 ns")
	return c
}

func (o *fsyncOptions) run(ctx context.Context, s replay.Streams) error {
	syncs, err := fsync.New(fsync.Options{
		Paths: o.paths, PID: o.PID, Node: procfs.New(o.HostRoot), AllSync: o.allSync, Limit: o.limit, Strict: o.strict, Stages: true,
		ByNetns: o.Netns != "" || o.PID != 0,
	})
	if err != nil {
		return err
	}
	view, stage := fsyncView(*o)
	return live.Run(ctx, o.Flags, live.View{View: view}.With(live.WatchSyncs(syncs, stage, o.HostRoot, o.limit)), s)
}
