// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
)

// drain merges what the sources have sent. It does not wait.
func (w *Watcher) drain() {
	for _, s := range w.sources {
		for {
			select {
			case facts := <-s.facts:
				w.mergeAll(facts)
				continue
			default:
			}
			break
		}
	}
}

// drainFirst waits up to answerWithin for every source's first answer.
func (w *Watcher) drainFirst() {
	defer w.drain() // what came with the last answer
	enough := time.After(answerWithin)
	for _, s := range w.sources {
		for answered := false; !answered; {
			select {
			case facts := <-s.facts:
				w.mergeAll(facts)
			case <-s.tried:
				answered = true
			case <-enough:
				return
			}
		}
	}
}

func (w *Watcher) mergeAll(facts []event.Fact) {
	for _, f := range facts {
		w.merge(f)
	}
}

// merge emits what is new in a source's fact. This node's kernel takes precedence: sources add what it does not show, and
// change nothing that it shows.
func (w *Watcher) merge(f event.Fact) {
	if f.Pod == nil {
		w.emit(f)
		return
	}
	p, known := w.index.Pod(f.Pod.UID)
	if f.Pod.Gone {
		if known && !seen(p) {
			w.emitPod(event.PodFact{UID: p.UID, Source: f.Pod.Source, Gone: true})
		}
		return
	}
	if seen(p) && len(p.Containers) > 0 && !alive(p) {
		return // it ended, and the source has not noticed
	}
	if news, ok := w.diff(p, *f.Pod); ok || !known {
		w.emitPod(news)
	}
}

// seen reports whether the pod has cgroups here: one of virtual machines, or of another node, has none.
func seen(p pod.Info) bool {
	return len(p.Cgroups) > 0 || slices.ContainsFunc(p.Containers, func(c *pod.Container) bool { return len(c.Cgroups) > 0 })
}

// diff returns what of a fact is not known of the pod, and whether there is any.
func (w *Watcher) diff(p pod.Info, f event.PodFact) (event.PodFact, bool) {
	if p.Name != "" && !pod.Better(f.Source, p.Sources["name"]) {
		f.Namespace, f.Name = "", ""
	}
	if maps.Equal(f.Labels, p.Labels) && p.Labels != nil {
		f.Labels = nil
	}
	if s := w.netns[p.UID]; s != nil { // we read it ourselves, or it has ended
		f.Netns, f.Addrs = 0, nil
	}
	if f.Netns == p.Netns {
		f.Netns = 0
	}
	f.Addrs = slices.DeleteFunc(slices.Clone(f.Addrs), func(a netip.Addr) bool { return slices.Contains(p.Addrs, a.Unmap()) })
	f.HostNetwork = f.HostNetwork && !p.HostNetwork
	f.At = w.began[p.UID]
	f.Containers = slices.DeleteFunc(slices.Clone(f.Containers), func(c event.ContainerFact) bool {
		old := find(p, c.ID)
		if old == nil {
			return seen(p)
		}
		return old.Gone || old.Source != "" && !pod.Better(f.Source, old.Source)
	})
	return f, f.Name != "" || f.Labels != nil || f.Netns != 0 || len(f.Addrs) > 0 || f.HostNetwork || len(f.Containers) > 0
}

func find(p pod.Info, container string) *pod.Container {
	for _, c := range p.Containers {
		if c.ID == container {
			return c
		}
	}
	return nil
}

// Sources returns the state of each source.
func (w *Watcher) Sources() []SourceState {
	states := []SourceState{{Name: "cgroup", Where: w.Root, Answered: w.walked}, w.logState()}
	for _, s := range w.sources {
		states = append(states, s.stateNow())
	}
	return states
}

// logState is that of the kubelet's log directories, which are read when a pod is new.
func (w *Watcher) logState() SourceState {
	s := SourceState{Name: "log", Where: filepath.Join(w.opts.HostRoot, logDir), Impact: "names of pods come from the runtime or the API only"}
	if _, err := os.ReadDir(s.Where); err != nil {
		s.Error = err.Error()
		return s
	}
	s.Answered, s.Impact = time.Now(), ""
	return s
}
