// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/testdata/lab"
	"ktrace/tracer"
	"ktrace/tracer/kube"
	"ktrace/tracer/probe"
)

const patience = 30 * time.Second

// node is a watched node: what cmd makes of a tracer, a watcher and an index.
type node struct {
	t       *testing.T
	tracer  *tracer.Tracer
	stream  *decoder.Stream
	watcher *kube.Watcher
	index   *pod.Index
	said    strings.Builder
}

func watch(t *testing.T, hostRoot string, pods ...string) *node {
	t.Helper()
	s, err := pod.NewSelector(pods, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	return watchWith(t, kube.Options{HostRoot: hostRoot, Selector: s})
}

func watchWith(t *testing.T, o kube.Options) *node {
	t.Helper()
	n := &node{t: t, index: pod.NewIndex()}
	o.Say = func(text string) { n.said.WriteString(text + "\n") }
	w, err := kube.NewWatcher(o)
	if err != nil {
		t.Fatal(err)
	}
	n.watcher = w
	t.Cleanup(func() { _ = w.Close() })
	n.tracer, err = tracer.Open(tracer.Options{
		Probes:  []string{"cgroup"},
		Globals: w.Globals(),
		Shared:  kube.SelectionMaps(),
		Prepare: func(m probe.Maps) error {
			w.Filter(func(name string) *ebpf.Map { return m("cgroup", name) })
			return nil
		},
		Begin: w.Begin,
		Poll:  func(probe.Maps) ([]event.Fact, error) { return w.Poll() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.tracer.Close(); err != nil {
			t.Error(err)
		}
	})
	n.stream = &decoder.Stream{Frames: n.tracer, Enrichers: []decoder.Enricher{w}}
	return n
}

// await takes events until one, or what is known after it, is as wanted.
func (n *node) await(what string, wanted func(event.Event) bool) event.Event {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		e, err := n.stream.Next(ctx)
		if err != nil {
			n.t.Fatalf("%s: %v; known are %+v", what, err, n.index.Pods())
		}
		for _, e := range n.index.Observe(e) {
			if wanted(e) {
				return e
			}
		}
	}
}

// ran is true of the event that a process of a container began to run a program.
func ran(c *lab.Container) func(event.Event) bool {
	return func(e event.Event) bool {
		b, ok := e.Body.(event.Cgroup)
		return ok && b.Op == event.CgroupExec && int(e.PID) == c.PID()
	}
}

// is waits until that is true of a pod.
func (n *node) is(p *lab.KubePod, what string, true func(pod.Info) bool) {
	n.t.Helper()
	n.await(p.Name+" "+what, func(event.Event) bool {
		i, ok := n.index.Pod(p.UID)
		return ok && true(i)
	})
}

func (n *node) selects(name string, key any) bool {
	var one uint8
	return n.tracer.Map("cgroup", name).Lookup(key, &one) == nil
}

func TestPodThatStartsLaterIsKnownAndSelectedWithItsFirstProgram(t *testing.T) {
	c, k := lab.NewCluster(t), lab.NewKubelet(t)
	inside, beside := c.AddPod("a"), c.AddPod("b")
	n := watch(t, k.Root, "default/web-*")
	if !strings.Contains(n.said.String(), "no pod matches default/web-* yet") {
		t.Errorf("said %q", n.said.String())
	}
	web, other := k.Pod("default", "web-1"), k.Pod("default", "db-0")
	theirs := other.Start("postgres", beside.NS, "sleep", "1d")
	n.await("program of the other pod", ran(theirs))
	ours := web.Start("nginx", inside.NS, "sleep", "1d")
	e := n.await("program in its own namespace", func(e event.Event) bool { return ran(ours)(e) && e.Netns == inside.Inode() })
	if want := (event.Pod{Namespace: "default", Name: "web-1", UID: web.UID, Container: "nginx", Source: "cgroup"}); e.Pod != want {
		t.Errorf("pod %+v, want %+v", e.Pod, want)
	}
	addr := netip.MustParseAddr(inside.Addr)
	if !n.selects("sel_cgroups", e.Cgroup) || !n.selects("sel_netns", inside.Inode()) || !n.selects("sel_addrs", addr.As16()) {
		t.Error("the kernel does not select it")
	}
	if n.selects("sel_netns", beside.Inode()) || n.selects("sel_addrs", netip.MustParseAddr(beside.Addr).As16()) {
		t.Error("the kernel selects the other pod")
	}
	if !strings.Contains(n.said.String(), "found default/web-1") {
		t.Errorf("said %q", n.said.String())
	}
}

func TestPodsThatWereThereBefore(t *testing.T) {
	c, k := lab.NewCluster(t), lab.NewKubelet(t)
	inside := c.AddPod("a")
	plain, etcd := k.Pod("default", "web-1"), k.StaticPod("kube-system", "etcd-node")
	plain.Start("nginx", inside.NS, "sleep", "1d")
	etcd.Start("etcd", nil, "sleep", "1d")
	n := watch(t, k.Root)
	n.is(plain, "has its namespace and address", func(p pod.Info) bool {
		return p.Netns == inside.Inode() && slices.Contains(p.Addrs, netip.MustParseAddr(inside.Addr)) && p.Containers[0].Name == "nginx"
	})
	n.is(etcd, "is static and in the node's namespace", func(p pod.Info) bool {
		return p.Static && p.HostNetwork && p.Netns == 0 && len(p.Addrs) == 0 && p.Name == "etcd-node"
	})
}

func TestNestedCgroupIsTheOuterContainers(t *testing.T) {
	k := lab.NewKubelet(t)
	p := k.Pod("default", "builder")
	c := p.Start("dind", nil, "sleep", "1d")
	n := watch(t, k.Root, "builder")
	n.is(p, "is known", func(i pod.Info) bool { return len(i.Containers) == 1 && len(i.Containers[0].Cgroups) == 1 })
	inner := c.Nest("docker/inner")
	e := n.await("the inner cgroup", func(e event.Event) bool {
		b, ok := e.Body.(event.Cgroup)
		return ok && b.Op == event.CgroupMkdir && strings.HasSuffix(b.Path, "/docker/inner")
	})
	if e.Pod.Name != "builder" || e.Pod.Container != "dind" {
		t.Errorf("pod %+v", e.Pod)
	}
	if !n.selects("sel_cgroups", e.Cgroup) {
		t.Error("the kernel does not select the inner cgroup")
	}
	inner()
}

func TestWhatEndedHasNoPodAnyMore(t *testing.T) {
	c, k := lab.NewCluster(t), lab.NewKubelet(t)
	inside := c.AddPod("a")
	first := k.Pod("default", "first")
	n := watch(t, k.Root, "*")
	container := first.Start("app", inside.NS, "sleep", "1d")
	n.is(first, "has its address", func(p pod.Info) bool { return len(p.Addrs) > 0 })
	container.Stop()
	inside.IP("addr del " + inside.Addr + "/24 dev eth0") // as a network plugin does
	inside.IP("addr del " + inside.Addr6 + "/64 dev eth0")
	n.is(first, "has lost its address", func(p pod.Info) bool { return len(p.Addrs) == 0 })
	if n.selects("sel_addrs", netip.MustParseAddr(inside.Addr).As16()) {
		t.Error("the kernel still selects the address")
	}
	n.is(first, "has lost its namespace", func(p pod.Info) bool { return p.Netns == 0 })
	if n.selects("sel_netns", inside.Inode()) {
		t.Error("the kernel still selects the namespace")
	}
	inside.IP("addr add " + inside.Addr + "/24 dev eth0")
	second := k.Pod("default", "second")
	second.Start("app", inside.NS, "sleep", "1d")
	n.is(second, "has the address of the first", func(p pod.Info) bool {
		return slices.Contains(p.Addrs, netip.MustParseAddr(inside.Addr)) && p.Netns == inside.Inode()
	})
}

func TestPodWithoutLogsHasAUIDAndNoName(t *testing.T) {
	k := lab.NewKubelet(t)
	p := k.Pod("default", "web")
	if err := os.RemoveAll(filepath.Join(k.Root, "var")); err != nil {
		t.Fatal(err)
	}
	n := watch(t, k.Root)
	n.is(p, "is known by its UID", func(i pod.Info) bool { return i.Name == "" })
}
