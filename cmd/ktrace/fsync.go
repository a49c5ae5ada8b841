package main

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
	"ktrace/tracer"
	"ktrace/tracer/kube"
)

// fsyncOptions are the flags of the fsync verb.
type fsyncOptions struct {
	cli.Flags
	paths    []string
	limit    time.Duration
	strict   bool // the limit was given
	slow     time.Duration
	interval time.Duration
	allSync  bool
}

// syncLimit is what etcd wants 99 of 100 syncs of its log to be within.
const syncLimit = 10 * time.Millisecond

// newFsync is the verb about syncs of files.
func newFsync(s cli.Streams) *cobra.Command {
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

// addView declares the flags that say how to look at the syncs, be they live or recorded.
func (o *fsyncOptions) addView(fs *pflag.FlagSet) {
	fs.DurationVar(&o.slow, "slow", 0, "also show each sync that takes at least so long, as it happens")
	fs.DurationVar(&o.interval, "interval", 0, "also show the summary so far after so much time, again and again")
}

func (o *fsyncOptions) validate() error {
	if err := o.Validate(); err != nil {
		return err
	}
	for _, p := range o.paths {
		if p == "" || p[0] != '/' {
			return cli.Usagef("--path %q: want an absolute path, as in /var/lib/etcd", p)
		}
	}
	if o.limit <= 0 {
		return cli.Usagef("--limit %v: want a positive time, as in 10ms", o.limit)
	}
	return o.validateView()
}

func (o *fsyncOptions) validateView() error {
	if o.slow < 0 || o.interval < 0 {
		return cli.Usagef("--slow and --interval: want positive times, as in 10ms")
	}
	return nil
}

// fsyncView is what the verb makes of the stream, be it live or a recording.
func fsyncView(o fsyncOptions) (cli.View, *decoder.FsyncStage) {
	stage := &decoder.FsyncStage{Slow: o.slow}
	rule := &diagnose.Fsync{Slowest: stage.Slowest}
	return cli.View{
		Kinds:  []decoder.Kind{decoder.KindFsync},
		Stages: []decoder.Stage{stage},
		Rules:  []decoder.Rule{rule},
		Every:  o.interval,
		Pods:   func(of func(uint64) decoder.Pod) { stage.Pod, rule.Pod = of, of },
	}, stage
}

func (o *fsyncOptions) run(ctx context.Context, s cli.Streams) error {
	live, err := tracer.NewFsync(tracer.FsyncOptions{
		Paths: o.paths, PID: o.PID, HostRoot: o.HostRoot, AllSync: o.allSync, Limit: o.limit, Strict: o.strict, Stages: true,
		ByNetns: o.Netns != "" || o.PID != 0,
	})
	if err != nil {
		return err
	}
	view, stage := fsyncView(*o)
	return cli.Live(ctx, o.Flags, view.With(watchSyncs(live, stage, o.HostRoot, o.limit)), s)
}

// watchSyncs is the part of a view that asks the kernel for syncs.
func watchSyncs(live *tracer.Fsync, stage *decoder.FsyncStage, root string, limit time.Duration) cli.View {
	stage.Floor = live.Raise
	disks, cpus := tracer.NewIOLimits(root, limit), tracer.NewCPULimits(root, limit)
	neighbours := tracer.NewNeighbours(root, limit, cgroupOf(root))
	v := cli.View{
		Witnesses: []decoder.Witness{disks, cpus, neighbours},
		Begin:     func() ([]decoder.Fact, error) { return neighbours.Poll(), nil },
		Poll: func(tracer.Maps) ([]decoder.Fact, error) {
			return slices.Concat(disks.Poll(), cpus.Poll(), neighbours.Poll()), nil
		},
	}
	return v.With(cli.View{
		Probes:   []string{"fsync"},
		Globals:  live.Globals(),
		Unwanted: live.Unwanted(),
		Prepare:  live.Prepare,
		Begin:    live.Begin,
		Poll:     live.Poll,
	})
}

// cgroupOf returns what tells the cgroup of a process, 0 if it is not known: a run that knows of no pods says so itself.
func cgroupOf(root string) func(pid uint32) uint64 {
	find := sync.OnceValues(func() (kube.Hierarchy, error) { return kube.FindHierarchy(root) }) // looks far and wide
	return func(pid uint32) uint64 {
		h, err := find()
		if err != nil {
			return 0
		}
		id, err := h.CgroupOf(filepath.Join(root, "proc"), int(pid))
		if err != nil {
			return 0 // it has ended
		}
		return id
	}
}
