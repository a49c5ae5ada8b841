// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"slices"
	"sync"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
	"ktrace/tracer/disk"
	"ktrace/tracer/fsync"
	"ktrace/tracer/host"
	"ktrace/tracer/kallsyms"
	"ktrace/tracer/kube"
	"ktrace/tracer/netns"
	"ktrace/tracer/node"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
)

// WatchDrops adds to a view all drops, and the ICMP errors and resets that report them to senders.
func WatchDrops(v View) View {
	const snap = 128 // of an ICMP error the headers of what it is about
	v.Probes = []string{probe.Path}
	v.Path = &probe.PathFilter{Hops: probe.TCP | probe.ICMP, Drops: probe.AllProtocols, TCPFlags: probe.FlagRST, Snap: snap}
	return v
}

// WatchVerdicts adds to a view the verdicts of netfilter, but for the hooks that are unwanted.
func WatchVerdicts(v View, unwanted ...string) View {
	return v.With(View{Probes: []string{probe.Netfilter}, Optional: []string{probe.Netfilter}, Unwanted: unwanted})
}

// WatchNode adds to a view the node's facts that its events refer to; done releases them.
func WatchNode(v View, root string) (_ View, done func() error) {
	found := netns.NewFinder(procfs.New(root))
	w, symbols := node.NewEnricher(node.New(found)), kallsyms.NewSymbols()
	return v.With(View{
		Needs:     []string{host.SysAdmin, host.NetAdmin, host.NetRaw, host.Syslog},
		Witnesses: []decoder.Enricher{node.NewDeviceNames(found), symbols, w},
		Begin: func() ([]event.Fact, error) {
			symbols.Prepare()
			home, err := netns.Inode("/proc/self/ns/net")
			return w.Begin(home), err
		},
		Poll: func(probe.Maps) ([]event.Fact, error) { return w.Poll(), nil },
	}), func() error { return errors.Join(w.Close(), symbols.Close()) }
}

// WatchSyncs is the part of a view that traces syncs.
func WatchSyncs(live *fsync.Watcher, stage *stage.Fsync, root string, limit time.Duration) View {
	stage.Floor = live.Raise
	node := procfs.New(root)
	disks, cpus := disk.NewIOLimits(node, limit), disk.NewCPULimits(node, limit)
	writers := disk.NewWriters(node, limit, cgroupOf(node))
	v := View{
		Witnesses: []decoder.Enricher{disks, cpus, writers},
		Begin:     func() ([]event.Fact, error) { return writers.Poll(), nil },
		Poll: func(probe.Maps) ([]event.Fact, error) {
			return slices.Concat(disks.Poll(), cpus.Poll(), writers.Poll()), nil
		},
	}
	return v.With(View{
		Probes:   []string{probe.Fsync},
		Globals:  []probe.Globals{live.Globals()},
		Unwanted: live.Unwanted(),
		Prepare:  live.Prepare,
		Begin:    live.Begin,
		Poll:     live.Poll,
	})
}

// cgroupOf returns a lookup of a process's cgroup, 0 if it is not known: a run that knows of no pods reports that elsewhere.
func cgroupOf(node *procfs.FS) func(pid uint32) uint64 {
	find := sync.OnceValues(func() (kube.Hierarchy, error) { return kube.FindHierarchy(node) }) // reads many files
	return func(pid uint32) uint64 {
		h, err := find()
		if err != nil {
			return 0
		}
		id, err := h.CgroupOf(node.Process(pid))
		if err != nil {
			return 0 // it has ended
		}
		return id
	}
}

// WatchFlows adds to a view the first packets of TCP connections, all other packets, and all drops.
func WatchFlows(v View, root string) View {
	v = WatchVerdicts(WatchDrops(v))
	v.Path.Hops = probe.TCP | probe.UDP | probe.ICMP
	v.Path.TCPFlags = probe.FlagSYN | probe.FlagRST
	v.Witnesses = append(v.Witnesses, node.NewResolv(procfs.New(root)))
	return v
}
