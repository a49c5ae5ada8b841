// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/interrupt"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/pod"
	"ktrace/tracer/kube"
	"ktrace/tracer/netns"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
	"ktrace/tracer/tap"
)

// Tap is which whole packets a view takes.
type Tap struct {
	Devices []string // names or patterns; none: all but loopback of the chosen namespaces; "any": all
	Snap    uint32   // bytes of a packet
}

// attachment is a tap and the namespace that was opened for it. A nil one is none.
type attachment struct {
	tap  *tap.Tap
	open *netns.Handle
}

// tapped adds to a view what takes whole packets, if it wants any.
func (v *View) tapped(ctx context.Context, f flags.Flags, selector pod.Selector, w *kube.Watcher, s replay.Streams) (*attachment, error) {
	if v.Tap == nil {
		return nil, nil
	}
	a := &attachment{}
	handles, err := a.handles(f, selector, w)
	if err != nil {
		return nil, err
	}
	a.tap = tap.New(tap.Options{
		Snap:    v.Tap.Snap,
		Devices: v.Tap.Devices,
		Variant: f.Variant,
		Netns:   handles,
		Others:  []*netns.Handle{w.Home()},
		Node:    procfs.New(f.HostRoot),
		Say:     s.Say,
		Undo:    func(remove func()) (forget func()) { return interrupt.Undo(ctx, remove) },
	})
	v.Probes = append(v.Probes, probe.Tap)
	v.Globals = append(v.Globals, a.tap.Globals())
	v.Witnesses = append(v.Witnesses, a.tap)
	v.Prepare = bothPrepare(v.Prepare, a.tap.Prepare)
	v.Begin = bothBegin(v.Begin, a.tap.Begin)
	v.Poll = bothPoll(v.Poll, a.tap.Poll)
	return a, nil
}

// handles returns the source of the namespaces whose devices are wanted: of the pods that are selected, of the process or
// path that is named, else the node's.
func (a *attachment) handles(f flags.Flags, selector pod.Selector, w *kube.Watcher) (func() []*netns.Handle, error) {
	name := ""
	switch {
	case selector.Pods():
		return w.PodNetns, nil
	case f.Netns != "":
		name = replay.NetnsPath(f)
	case f.PID != 0:
		name = procfs.New(f.HostRoot).Process(uint32(f.PID)).NamespacePath("net")
	default:
		return func() []*netns.Handle { return []*netns.Handle{w.Home()} }, nil
	}
	handle, err := netns.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, flags.Usagef("%s: there is no such network namespace", name)
	}
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	a.open = handle
	return func() []*netns.Handle { return []*netns.Handle{handle} }, nil
}

// tracer is for tracer.Options.Attach.
func (a *attachment) tracer() func(probe.Programs) (io.Closer, error) {
	if a == nil {
		return nil
	}
	return a.tap.Attach
}

// Close closes the namespace.
func (a *attachment) Close() error {
	if a == nil || a.open == nil {
		return nil
	}
	return a.open.Close()
}
