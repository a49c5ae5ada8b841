// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/tracer"
	"ktrace/tracer/host"
	"ktrace/tracer/kube"
	"ktrace/tracer/probe"
)

// withPods adds to a view what names and selects pods. The cgroup probe goes first, so that it makes the selection maps.
func (v View) withPods(w *kube.Watcher) View {
	v.Probes = append([]string{probe.Cgroup}, v.Probes...)
	v.Globals = slices.Concat(w.Globals(), v.Globals)
	if v.Path != nil { // pods that come later are known by the addresses in their namespaces
		v.Needs = append(slices.Clone(v.Needs), host.SysAdmin)
	}
	v.Witnesses = append([]decoder.Enricher{w}, v.Witnesses...)
	v.Prepare = bothPrepare(func(m probe.Maps) error {
		w.Filter(func(name string) *ebpf.Map { return m(probe.Cgroup, name) })
		return nil
	}, v.Prepare)
	v.Begin = bothBegin(w.Begin, v.Begin)
	v.Poll = bothPoll(func(probe.Maps) ([]event.Fact, error) { return w.Poll() }, v.Poll)
	return v
}

// Pods returns what is known of this node's pods that the flags select.
func Pods(f flags.Flags) (pods []pod.Info, err error) {
	selector, err := replay.Selector(f)
	if err != nil {
		return nil, err
	}
	err = look(f, func(w *kube.Watcher) { pods = w.Pods() })
	return slices.DeleteFunc(pods, func(p pod.Info) bool { return p.Node != "" || !selector.Concerns(p) }), err
}

// Sources returns the sources of this node's pods, and their state.
func Sources(f flags.Flags) (states []kube.SourceState, err error) {
	err = look(f, func(w *kube.Watcher) { states = w.Sources() })
	return states, err
}

// look finds the pods once.
func look(f flags.Flags, at func(*kube.Watcher)) (err error) {
	where, err := kubeOptions(f)
	if err != nil {
		return err
	}
	w, err := kube.NewWatcher(where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Begin(); err != nil {
		return err
	}
	at(w)
	return nil
}

// kubeOptions are the flags about the sources of pods.
func kubeOptions(f flags.Flags) (kube.Options, error) {
	for name, file := range map[string]string{"kubeconfig": f.Kubeconfig, "cri-socket": f.CRISocket} {
		if _, err := os.Stat(filepath.Clean(strings.TrimPrefix(file, "unix://"))); file != "" && errors.Is(err, os.ErrNotExist) {
			return kube.Options{}, flags.Usagef("--%s %s: there is no such file", name, file)
		}
	}
	node, err := tracer.NodeName()
	return kube.Options{Node: node, Version: flags.Build(), HostRoot: f.HostRoot, CRISocket: f.CRISocket, Kubeconfig: f.Kubeconfig}, err
}
