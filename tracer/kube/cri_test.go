// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/testdata/lab"
	"ktrace/tracer/kube"
)

// runtime is a container runtime with the answers of a test.
type runtime struct {
	cri.UnimplementedRuntimeServiceServer
	mu         sync.Mutex
	sandboxes  []*cri.PodSandbox
	containers []*cri.Container
	status     map[string]*cri.PodSandboxStatus
	hang       chan struct{} // not nil: nothing is answered until it is closed
}

func (r *runtime) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	if r.hang != nil {
		<-r.hang
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return &cri.ListPodSandboxResponse{Items: r.sandboxes}, nil
}

func (r *runtime) ListContainers(context.Context, *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	return &cri.ListContainersResponse{Containers: r.containers}, nil
}

func (r *runtime) PodSandboxStatus(_ context.Context, q *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	s := r.status[q.GetPodSandboxId()]
	if s == nil {
		return nil, errors.New("no such sandbox")
	}
	return &cri.PodSandboxStatusResponse{Status: s}, nil
}

// serve has the runtime answer on a socket where k3s has its own.
func (r *runtime) serve(t *testing.T, root string) *grpc.Server {
	t.Helper()
	return r.serveAt(t, filepath.Join(root, "run/k3s/containerd/containerd.sock"))
}

func (r *runtime) serveAt(t *testing.T, path string) *grpc.Server {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(s, r)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	return s
}

func (r *runtime) add(uid, name, ip string, labels map[string]string, mode cri.NamespaceMode) {
	id := "sandbox-of-" + uid
	r.sandboxes = append(r.sandboxes, &cri.PodSandbox{Id: id, Labels: labels,
		Metadata: &cri.PodSandboxMetadata{Uid: uid, Namespace: "default", Name: name}})
	if r.status == nil {
		r.status = map[string]*cri.PodSandboxStatus{}
	}
	r.status[id] = &cri.PodSandboxStatus{Network: &cri.PodSandboxNetworkStatus{Ip: ip},
		Linux: &cri.LinuxPodSandboxStatus{Namespaces: &cri.Namespace{Options: &cri.NamespaceOption{Network: mode}}}}
}

func state(t *testing.T, w *kube.Watcher, source string) kube.SourceState {
	t.Helper()
	all := w.Sources()
	i := slices.IndexFunc(all, func(s kube.SourceState) bool { return s.Name == source })
	if i < 0 {
		t.Fatalf("no source %s among %+v", source, all)
	}
	return all[i]
}

func start(t *testing.T, o kube.Options) *kube.Watcher {
	t.Helper()
	w, err := kube.NewWatcher(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	if _, err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	return w
}

func named(w *kube.Watcher, name string) (pod.Info, bool) {
	for _, p := range w.Pods() {
		if p.Name == name {
			return p, true
		}
	}
	return pod.Info{}, false
}

func TestRuntimeReportsLabelsAddressesAndHostNetwork(t *testing.T) {
	k, r := lab.NewKubelet(t), &runtime{}
	r.add("11111111-0000-4000-8000-000000000001", "vm", "10.9.8.7", map[string]string{"app": "vm"}, cri.NamespaceMode_POD)
	r.add("11111111-0000-4000-8000-000000000002", "proxy", "192.0.2.1", nil, cri.NamespaceMode_NODE)
	r.serve(t, k.Root)
	w := start(t, kube.Options{HostRoot: k.Root})
	vm, _ := named(w, "vm")
	if !slices.Contains(vm.Addrs, netip.MustParseAddr("10.9.8.7")) || vm.Labels["app"] != "vm" || vm.Sources["addrs"] != "cri" || !vm.Containers[0].Sandbox {
		t.Errorf("%+v", vm)
	}
	proxy, _ := named(w, "proxy")
	if !proxy.HostNetwork || len(proxy.Addrs) > 0 || proxy.Labels == nil {
		t.Errorf("%+v", proxy)
	}
	if s := state(t, w, "cri"); s.Answered.IsZero() || s.Error != "" || s.Where != filepath.Join(k.Root, "run/k3s/containerd/containerd.sock") {
		t.Errorf("%+v", s)
	}
}

// Where each distribution has its runtime answer. The name is short, for the path of a socket must be.
func TestSockets(t *testing.T) {
	for name, path := range map[string]string{
		"containerd":  "run/containerd/containerd.sock",
		"k3s, rke2":   "run/k3s/containerd/containerd.sock",
		"k0s":         "run/k0s/containerd.sock",
		"microk8s":    "var/snap/microk8s/common/run/containerd.sock",
		"CRI-O":       "run/crio/crio.sock",
		"cri-dockerd": "run/cri-dockerd.sock",
	} {
		t.Run(name, func(t *testing.T) {
			k, r := lab.NewKubelet(t), &runtime{}
			r.add("11111111-0000-4000-8000-000000000001", "vm", "10.9.8.7", nil, cri.NamespaceMode_POD)
			r.serveAt(t, filepath.Join(k.Root, path))
			w := start(t, kube.Options{HostRoot: k.Root})
			if vm, ok := named(w, "vm"); !ok || vm.Sources["name"] != "cri" || state(t, w, "cri").Where != filepath.Join(k.Root, path) {
				t.Errorf("%+v, %+v", vm, state(t, w, "cri"))
			}
		})
	}
}

func TestRuntimeAddsToWhatTheKernelShowsAndDoesNotChangeIt(t *testing.T) {
	c, k, r := lab.NewCluster(t), lab.NewKubelet(t), &runtime{}
	inside := c.AddPod("a")
	p := k.Pod("default", "web")
	p.Start("nginx", inside.NS, "sleep", "1d")
	n := watch(t, k.Root)
	n.is(p, "has its address", func(i pod.Info) bool { return len(i.Addrs) > 0 })
	r.add(p.UID, "liar", "10.66.66.66", map[string]string{"app": "web"}, cri.NamespaceMode_POD)
	r.serve(t, k.Root)
	p.Start("second", inside.NS, "sleep", "1d") // something new to ask about
	n.is(p, "has its labels", func(i pod.Info) bool { return i.Labels["app"] == "web" })
	i, _ := n.index.Pod(p.UID)
	if i.Name != "web" || slices.Contains(i.Addrs, netip.MustParseAddr("10.66.66.66")) {
		t.Errorf("the runtime is believed: %+v", i)
	}
}

func TestRuntimeThatHangsHoldsNothingUp(t *testing.T) {
	k, r := lab.NewKubelet(t), &runtime{hang: make(chan struct{})}
	p := k.Pod("default", "web")
	r.serve(t, k.Root)
	defer close(r.hang)
	w := start(t, kube.Options{HostRoot: k.Root}) // returns, though nothing is ever answered
	if i, ok := named(w, "web"); !ok || i.UID != p.UID {
		t.Errorf("%+v", w.Pods())
	}
	if s := state(t, w, "cri"); !s.Answered.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestRuntimeThatGoesAway(t *testing.T) {
	k, r := lab.NewKubelet(t), &runtime{}
	web := k.Pod("default", "web")
	r.add(web.UID, "web", "10.9.8.7", map[string]string{"app": "web"}, cri.NamespaceMode_POD)
	s := r.serve(t, k.Root)
	n := watch(t, k.Root)
	n.is(web, "has its labels", func(i pod.Info) bool { return i.Labels["app"] == "web" })
	s.Stop()
	web.Start("nginx", nil, "sleep", "1d")
	n.await("cri to be found gone", func(e event.Event) bool { return state(t, n.watcher, "cri").Error != "" })
	if i, ok := n.index.Pod(web.UID); !ok || i.Labels["app"] != "web" || len(i.Containers) == 0 {
		t.Errorf("%+v", i)
	}
}

func TestNoRuntime(t *testing.T) {
	k := lab.NewKubelet(t)
	w := start(t, kube.Options{HostRoot: k.Root})
	if s := state(t, w, "cri"); s.Error == "" || s.Impact == "" {
		t.Errorf("%+v", s)
	}
}
