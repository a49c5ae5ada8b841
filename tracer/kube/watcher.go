// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/tracer/boot"
	"ktrace/tracer/netns"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
)

// Options say where to look and what was selected.
type Options struct {
	HostRoot   string       // where the node's file system is
	Node       string       // this node's name
	Version    string       // ktrace's, in the User-Agent of requests
	CRISocket  string       // of the container runtime; "" looks at the usual places
	Kubeconfig string       // for the API; "" takes a pod's own access, or the kubelet's
	Selector   pod.Selector // what the kernel is to filter by
	Say        func(string) // shows the user a line on stderr
}

// Watcher keeps the pods of this node and emits what changes. It is a decoder.Enricher, and not safe for concurrent use.
type Watcher struct {
	Hierarchy
	opts     Options
	node     *procfs.FS
	above    string // the cgroup that is Root, as the kernel's events have it
	home     *netns.Handle
	machine  []uint32 // inodes of the network namespaces of the machine's first process and of its kernel
	logs     *logs
	retries  retries
	index    *pod.Index               // of what was emitted
	paths    map[string]string        // of containers' cgroups, by id
	netns    map[string]*podNetns     // by the pod's UID
	began    map[string]time.Duration // since boot: when the pod, by its UID, was first in a namespace of its own
	emitted  []event.Fact             // in this call, and not yet returned
	filter   *filter
	walked   time.Time
	ending   int // namespaces that are held and whose pods ended
	released time.Time
	waits    bool // Say was called: no pod matches yet
	sources  []*source
	runtime  *runtimeSource
	api      *apiSource
	stop     func() // ends the goroutines of the sources
}

// walkEvery is how often the cgroups are walked: their events may be lost.
const walkEvery = 5 * time.Second

// NewWatcher finds where this node keeps its pods. Close it.
func NewWatcher(o Options) (*Watcher, error) {
	node := procfs.New(o.HostRoot)
	h, err := FindHierarchy(node)
	if err != nil {
		return nil, err
	}
	home, err := netns.Open(node.Self().NamespacePath("net"))
	if err != nil {
		return nil, err
	}
	w := &Watcher{
		Hierarchy: h,
		opts:      o,
		node:      node,
		home:      home,
		logs:      newLogs(o.HostRoot),
		retries:   retries{},
		index:     pod.NewIndex(),
		paths:     map[string]string{},
		netns:     map[string]*podNetns{},
		began:     map[string]time.Duration{},
	}
	for _, first := range []uint32{1, 2} { // init, which hides without CAP_SYS_PTRACE, and kthreadd
		if inode, err := node.Process(first).Namespace("net"); err == nil {
			w.machine = append(w.machine, inode)
		}
	}
	w.runtime = newRuntimeSource(o.HostRoot, o.CRISocket)
	w.api = newAPISource(o.HostRoot, o.Kubeconfig, o.Node)
	w.api.version = o.Version
	w.sources = []*source{w.runtime.source, w.api.source}
	w.emit(event.Fact{Node: &event.Node{Netns: home.Inode}})
	w.emitted = nil // the tracer emits it
	return w, nil
}

// Globals are the objects' variables that depend on the node and the selection.
func (w *Watcher) Globals() []probe.Globals {
	return []probe.Globals{
		probe.CgroupHierarchy{Subsystem: int32(w.Subsystem), ID: int32(w.ID)},
		probe.Selection{Selecting: !w.opts.Selector.All(), HostNetns: w.home.Inode},
	}
}

// RunsPrograms reports whether the access to the API is by a program that gives out tokens, as a cloud's, again and again.
func (w *Watcher) RunsPrograms() bool {
	c, err := w.api.config()
	return err == nil && c.ExecProvider != nil
}

// Begin returns the pods that there are, and starts the sources.
func (w *Watcher) Begin() ([]event.Fact, error) {
	w.ask()
	w.walkAll()
	w.complete()
	w.retries.seldom()
	w.drainFirst()
	if err := w.announce(); err != nil {
		return nil, err
	}
	facts, err := w.take()
	return facts, errors.Join(err, w.choose()) // a namespace is selected without a pod
}

// ask starts the goroutines of the sources.
func (w *Watcher) ask() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.runtime.run(ctx) })
	running.Go(func() { w.api.run(ctx) })
	w.stop = func() { cancel(); running.Wait() }
}

// Enrich implements decoder.Enricher.
func (w *Watcher) Enrich(e event.Event) []event.Fact {
	w.drain()
	w.releaseEnded(releaseEvery)
	if c, ok := e.Body.(event.Cgroup); ok {
		w.observe(e, c)
	}
	facts, err := w.take()
	if err != nil {
		w.opts.Say(err.Error())
	}
	return facts
}

func (w *Watcher) observe(e event.Event, c event.Cgroup) {
	switch c.Op {
	case event.CgroupMkdir:
		w.made(e.Cgroup, c.Path)
	case event.CgroupRmdir:
		if ref, ok := pod.ParseCgroup(c.Path); ok {
			if uid, _, known := w.index.Owner(e.Cgroup); known && uid == ref.UID {
				w.left(e.Cgroup, ref)
			}
		}
	case event.CgroupAttach, event.CgroupExec:
		w.entered(e, c.Path)
	}
}

// Poll returns what became known without an event.
func (w *Watcher) Poll() ([]event.Fact, error) {
	if time.Since(w.walked) >= walkEvery {
		w.walkAll()
	}
	w.complete()
	w.index.Flush(bootTime(), false)
	return w.take()
}

// Pods returns what is known.
func (w *Watcher) Pods() []pod.Info { return w.index.Pods() }

// Home is the node's own network namespace.
func (w *Watcher) Home() *netns.Handle { return w.home }

// PodNetns returns the network namespaces of the pods that are selected, open until the next call of the watcher.
func (w *Watcher) PodNetns() []*netns.Handle {
	var handles []*netns.Handle
	here, _ := w.selected()
	for _, p := range here {
		if s := w.netns[p.UID]; s != nil && s.ended.IsZero() {
			handles = append(handles, s.Handle)
		}
	}
	return handles
}

// Close ends the sources and closes the namespaces.
func (w *Watcher) Close() error {
	if w.stop != nil {
		w.stop()
	}
	for _, s := range w.netns {
		_ = s.Close() // a descriptor that was only held
	}
	return w.home.Close()
}

// emit adds a fact to the index, and to what is returned to the stream.
func (w *Watcher) emit(f event.Fact) {
	w.index.Observe(event.Event{Header: event.Header{Time: bootTime()}, Body: f})
	w.emitted = append(w.emitted, f)
}

func (w *Watcher) emitPod(f event.PodFact) { w.emit(event.Fact{Pod: &f}) }

// take returns the facts that were emitted, after the kernel's selection follows them.
func (w *Watcher) take() ([]event.Fact, error) {
	facts := w.emitted
	w.emitted = nil
	if len(facts) == 0 {
		return nil, nil
	}
	w.announceFound()
	return facts, w.choose()
}

// choose writes what matches the selection now into the kernel's maps.
func (w *Watcher) choose() error {
	if w.filter == nil {
		return nil
	}
	return w.filter.sync(w.index.Sets(w.opts.Selector))
}

// walkAll compares what is known with what is there.
func (w *Watcher) walkAll() {
	w.walked = time.Now()
	there := map[string]bool{}
	w.walk(func(id uint64, path string, ref pod.Ref) bool {
		there[ref.UID], there[ref.Container] = true, true
		if _, _, known := w.index.Owner(id); !known {
			w.found(id, path, ref)
		}
		return true
	})
	for _, p := range w.index.Pods() {
		for _, c := range p.Containers {
			if !c.Gone && len(c.Cgroups) > 0 && !there[c.ID] {
				w.left(0, pod.Ref{UID: p.UID, Container: c.ID})
			}
		}
		if seen(p) && !there[p.UID] {
			w.left(0, pod.Ref{UID: p.UID})
		}
	}
}

// made handles a cgroup that an event names, if it is a pod's.
func (w *Watcher) made(id uint64, path string) (ref pod.Ref, ok bool) {
	path = w.inView(id, path)
	if ref, ok = w.refOf(path); ok {
		w.found(id, path, ref)
	}
	return ref, ok
}

// inView is the path of a cgroup below Root. The kernel's begins at the root of the hierarchy, of which the node, being a
// container, may see a part only: the number of the cgroup shows which.
func (w *Watcher) inView(id uint64, path string) string {
	if within, ok := strings.CutPrefix(path, w.above); ok && w.above != "" {
		return within
	}
	if _, ok := pod.ParseCgroup(path); !ok {
		return path
	}
	for i := 0; i >= 0; {
		if here, err := w.idOf(path[i:]); err == nil && here == id {
			w.above = path[:i]
			return path[i:]
		}
		next := strings.IndexByte(path[i+1:], '/')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return path
}

// found handles a cgroup that is new.
func (w *Watcher) found(id uint64, path string, ref pod.Ref) {
	if w.logs.denies(ref.UID) {
		return
	}
	f := event.PodFact{UID: ref.UID, Source: "cgroup"}
	if named, ok := w.logs.pod(ref.UID); ok && w.nameless(ref.UID) {
		f = named
	}
	if ref.Container == "" {
		f.Cgroups = []uint64{id}
		w.emitPod(f)
		return
	}
	f.Containers = []event.ContainerFact{{ID: ref.Container, Cgroups: []uint64{id}}}
	w.emitPod(f)
	if !ref.Nested {
		w.paths[ref.Container] = path
		w.runtime.wake()
		w.nameContainerNow(ref.UID, ref.Container)
		w.label(ref.UID)
	}
}

// label asks the runtime for a pod's labels as soon as a container begins, if the selection is by labels: the runtime's
// next list comes after the first packets.
func (w *Watcher) label(uid string) {
	if p, _ := w.index.Pod(uid); p.Labels != nil || !w.opts.Selector.ByLabels() {
		return
	}
	if f, ok := w.runtime.labels(uid); ok {
		w.emitPod(f)
	}
}

func (w *Watcher) nameless(uid string) bool {
	p, ok := w.index.Pod(uid)
	return !ok || p.Name == ""
}

// nameContainer asks the runtime's files first: the kubelet's link comes only when the container has started.
func (w *Watcher) nameContainer(uid, id string) bool {
	f, ok := bundle(w.node, uid, id)
	if !ok {
		var name string
		name, ok = w.logs.container(id)
		f = event.PodFact{UID: uid, Source: "log", Containers: []event.ContainerFact{{ID: id, Name: name}}}
	}
	if ok {
		w.emitPod(f)
	}
	return ok
}

// nameContainerNow also asks the runtime itself: the container and its files may be gone already.
func (w *Watcher) nameContainerNow(uid, id string) {
	if w.nameContainer(uid, id) {
		return
	}
	if f, ok := w.runtime.container(uid, id); ok {
		w.emitPod(f)
	}
}

// left handles a removed cgroup. With its last container a pod's network ends, though its cgroup may stay.
func (w *Watcher) left(id uint64, ref pod.Ref) {
	gone := event.PodFact{UID: ref.UID, Source: "cgroup", Gone: true}
	if ref.Nested {
		gone.Containers = []event.ContainerFact{{ID: ref.Container, Cgroups: []uint64{id}}}
		w.emitPod(gone)
		return
	}
	if ref.Container != "" {
		delete(w.paths, ref.Container)
		gone.Containers = []event.ContainerFact{{ID: ref.Container}}
		w.emitPod(gone)
	}
	p, ok := w.index.Pod(ref.UID)
	if !ok || ref.Container != "" && alive(p) {
		return
	}
	switch s := w.netns[ref.UID]; {
	case s == nil && (p.Netns != 0 || len(p.Addrs) > 0): // not open, so it is not known when others get them
		w.emitPod(event.PodFact{UID: ref.UID, Source: "cgroup", Netns: p.Netns, Addrs: p.Addrs, Gone: true})
	case s != nil && s.ended.IsZero():
		s.ended = time.Now()
		w.ending++
	}
	if ref.Container == "" {
		gone.Containers = nil
		w.emitPod(gone)
		delete(w.began, ref.UID)
	}
}

func alive(p pod.Info) bool {
	for _, c := range p.Containers {
		if !c.Gone {
			return true
		}
	}
	return false
}

// entered handles a process that runs in a pod's cgroup and in a network namespace.
func (w *Watcher) entered(e event.Event, path string) {
	uid, id, ok := w.index.Owner(e.Cgroup)
	if !ok {
		if path == "" {
			path = w.pathNow(e)
		}
		ref, of := w.made(e.Cgroup, path)
		if !of {
			return
		}
		uid, id = ref.UID, ref.Container
	}
	p, _ := w.index.Pod(uid)
	if e.Netns != 0 && !w.shared(e.Netns) && w.wantsNetns(p) {
		w.began[uid] = time.Duration(e.Time.UnixNano())
		w.keepNetns(uid, w.node.Process(e.PID), e.Netns)
	}
	if c := find(p, id); c != nil && c.Source == "" {
		w.nameContainerNow(uid, id)
	}
}

// pathNow is the path of an event's cgroup, "" if the process was moved meanwhile: a runtime's child begins in the
// runtime's own cgroup.
func (w *Watcher) pathNow(e event.Event) string {
	path, _ := w.pathOf(w.node.Process(e.PID))
	if id, err := w.idOf(path); err != nil || id != e.Cgroup {
		return ""
	}
	return path
}

// complete looks again for what was not there before: names, namespaces, addresses.
func (w *Watcher) complete() {
	now := time.Now()
	for _, p := range w.index.Pods() {
		if w.hasAll(p) || !w.retries.due(p.UID, len(p.Containers), now) {
			continue
		}
		if p.Name == "" {
			if f, ok := w.logs.pod(p.UID); ok {
				w.emitPod(f)
			}
		}
		for _, c := range p.Containers {
			if !c.Gone && c.Source == "" {
				w.nameContainer(p.UID, c.ID)
			}
		}
		w.completeNetwork(p)
	}
	w.retries.forget(now)
}

// hasAll reports whether nothing of a pod is left to look for.
func (w *Watcher) hasAll(p pod.Info) bool {
	named := p.Name != "" && !slices.ContainsFunc(p.Containers, func(c *pod.Container) bool { return !c.Gone && c.Source == "" })
	return named && (p.HostNetwork || !w.wantsNetns(p) && len(p.Addrs) > 0)
}

func bootTime() time.Time { return time.Unix(0, int64(boot.Now())) }
