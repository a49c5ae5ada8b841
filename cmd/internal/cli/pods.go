package cli

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"ktrace/decoder"
	"ktrace/decoder/pod"
	"ktrace/tracer"
	"ktrace/tracer/kube"
	"ktrace/tracer/netns"
)

// podProbe is the object that keeps pods current and has the selection maps first.
const podProbe = "cgroup"

// selector is what the flags select.
func (f Flags) selector() (pod.Selector, error) {
	var places []pod.Place
	if f.Netns != "" {
		place, err := netnsPlace(f.netnsPath())
		if errors.Is(err, os.ErrNotExist) {
			return pod.Selector{}, Usagef("--netns %s: there is none; want a path, or a name that \"ip netns\" lists", f.Netns)
		}
		if errors.Is(err, netns.ErrNone) {
			return pod.Selector{}, Usagef("--netns %v; want a path as in /proc/PID/ns/net, or a name that \"ip netns\" lists", err)
		}
		if err != nil {
			return pod.Selector{}, err
		}
		places = append(places, place)
	}
	if f.PID != 0 {
		place, err := kube.PlaceOf(f.HostRoot, f.PID)
		if errors.Is(err, os.ErrNotExist) {
			return pod.Selector{}, Usagef("--pid %d: there is no such process", f.PID)
		}
		if err != nil {
			return pod.Selector{}, err
		}
		places = append(places, place)
	}
	s, err := pod.NewSelector(f.Pods, f.Namespace, f.Container, f.Labels, places...)
	if err != nil {
		return s, Usagef("%v", err)
	}
	return s, nil
}

// netnsPlace is a namespace with the addresses that are its own alone.
func netnsPlace(path string) (pod.Place, error) {
	space, err := netns.Open(path)
	if err != nil {
		return pod.Place{}, err
	}
	defer space.Close()
	place := pod.Place{Netns: space.Inode}
	devices, err := space.Devices()
	if err != nil {
		return place, err
	}
	for _, d := range devices {
		for _, a := range d.Addrs {
			if !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() {
				place.Addrs = append(place.Addrs, a.Addr())
			}
		}
	}
	return place, nil
}

func (f Flags) netnsPath() string {
	if strings.Contains(f.Netns, "/") {
		return f.Netns
	}
	return filepath.Join(cmp.Or(f.HostRoot, "/"), "run/netns", f.Netns) // to read a file there is no --host-root
}

// withPods adds to a view what names and selects pods.
func (v View) withPods(w *kube.Watcher) View {
	v.Probes = append([]string{podProbe}, v.Probes...)
	v.Globals = merged(w.Globals(), v.Globals)
	v.Witnesses = append([]decoder.Witness{w}, v.Witnesses...)
	v.Prepare = bothPrepare(func(m tracer.Maps) error {
		w.Filter(func(name string) *ebpf.Map { return m(podProbe, name) })
		return nil
	}, v.Prepare)
	v.Begin = bothBegin(w.Begin, v.Begin)
	v.Poll = bothPoll(func(tracer.Maps) ([]decoder.Fact, error) { return w.Poll() }, v.Poll)
	return v
}

func merged(a, b map[string]any) map[string]any {
	both := map[string]any{}
	maps.Copy(both, a)
	maps.Copy(both, b)
	return both
}

// Pods returns what is known of this node's pods that the flags select.
func Pods(f Flags) (pods []pod.Info, err error) {
	selector, err := f.selector()
	if err != nil {
		return nil, err
	}
	err = f.look(func(w *kube.Watcher) { pods = w.Pods() })
	return slices.DeleteFunc(pods, func(p pod.Info) bool { return p.Node != "" || !selector.Concerns(p) }), err
}

// Sources returns who tells of this node's pods, and how they fare.
func Sources(f Flags) (states []kube.SourceState, err error) {
	err = f.look(func(w *kube.Watcher) { states = w.Sources() })
	return states, err
}

// look finds the pods once.
func (f Flags) look(at func(*kube.Watcher)) (err error) {
	where, err := f.kube()
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

// kube are the flags that say where to look for pods.
func (f Flags) kube() (kube.Options, error) {
	for flag, file := range map[string]string{"kubeconfig": f.Kubeconfig, "cri-socket": f.CRISocket} {
		if _, err := os.Stat(filepath.Clean(strings.TrimPrefix(file, "unix://"))); file != "" && errors.Is(err, os.ErrNotExist) {
			return kube.Options{}, Usagef("--%s %s: there is no such file", flag, file)
		}
	}
	node, err := tracer.NodeName()
	return kube.Options{Node: node, HostRoot: f.HostRoot, CRISocket: f.CRISocket, Kubeconfig: f.Kubeconfig}, err
}
