// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"ktrace/decoder/event"
	"ktrace/tracer/netns"
)

// criSockets are where container runtimes answer the kubelet.
var criSockets = [...]string{
	"run/containerd/containerd.sock",
	"run/k3s/containerd/containerd.sock", // also rke2
	"run/k0s/containerd.sock",
	"var/snap/microk8s/common/run/containerd.sock",
	"run/crio/crio.sock",
	"run/cri-dockerd.sock",
}

// errNoSocket is returned where no container runtime has a socket.
var errNoSocket = errors.New("no socket of a container runtime; if it is elsewhere, give it with --cri-socket")

// maxAnswer is how many bytes the runtime's answer may have, as the kubelet lets it: thousands of pods take some MiB.
const maxAnswer = 16 << 20

const criEvery = 10 * time.Second // without being asked

// criSoon are the times between the looks after a new container: the runtime lists it when it has started it.
var criSoon = [...]time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}

// runtimeSource asks the container runtime for what only it knows: labels, names of containers without logs,
// namespaces without processes.
type runtimeSource struct {
	*source
	hostRoot  string
	socket    string // "" looks at the usual places
	at        string // the one that answered
	conn      atomic.Pointer[grpc.ClientConn]
	details   map[string]*cri.PodSandboxStatusResponse // of sandboxes that are ready, by id
	sandboxes map[string]string                        // sandboxes that are ready, and their pods
}

func newRuntimeSource(hostRoot, socket string) *runtimeSource {
	return &runtimeSource{
		source:    newSource("cri", "labels of pods are not known, so -l selects nothing unless the API answers"),
		hostRoot:  hostRoot,
		socket:    socket,
		details:   map[string]*cri.PodSandboxStatusResponse{},
		sandboxes: map[string]string{},
	}
}

// run asks until the context ends.
func (r *runtimeSource) run(ctx context.Context) {
	defer r.hangUp()
	for {
		facts, err := r.ask(ctx)
		r.answered(ctx, r.at, facts, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(criEvery):
		case <-r.kick:
			for _, d := range criSoon {
				r.pause(ctx, d)
				facts, err := r.ask(ctx)
				r.answered(ctx, r.at, facts, err)
			}
		}
	}
}

func (r *runtimeSource) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (r *runtimeSource) hangUp() {
	if conn := r.conn.Swap(nil); conn != nil {
		_ = conn.Close() // what was in flight is answered by an error
	}
}

// ask returns what the runtime says now. A runtime that does not answer is looked for anew the next time.
func (r *runtimeSource) ask(ctx context.Context) ([]event.Fact, error) {
	if r.conn.Load() != nil {
		facts, err := r.list(ctx)
		if err != nil {
			r.hangUp()
		}
		return facts, err
	}
	err := errNoSocket
	for _, path := range r.sockets() {
		if _, missing := os.Stat(path); missing != nil && r.socket == "" {
			continue
		}
		conn, failed := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
		if failed != nil {
			return nil, failed
		}
		r.conn.Store(conn)
		r.at = path
		facts, failed := r.list(ctx)
		if failed == nil {
			return facts, nil
		}
		err = failed
		r.hangUp()
	}
	return nil, err
}

func (r *runtimeSource) sockets() []string {
	if r.socket != "" {
		return []string{strings.TrimPrefix(r.socket, "unix://")}
	}
	paths := make([]string, len(criSockets))
	for i, p := range criSockets {
		paths[i] = filepath.Join(r.hostRoot, p)
	}
	return paths
}

// list asks for all sandboxes and containers.
func (r *runtimeSource) list(ctx context.Context) ([]event.Fact, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	client := cri.NewRuntimeServiceClient(r.conn.Load())
	ready := &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY}
	sandboxes, err := client.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{State: ready}})
	if err != nil {
		return nil, err
	}
	containers, err := client.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	of := map[string][]event.ContainerFact{}
	for _, c := range containers.GetContainers() {
		if s := c.GetState(); s == cri.ContainerState_CONTAINER_RUNNING || s == cri.ContainerState_CONTAINER_CREATED {
			of[c.GetPodSandboxId()] = append(of[c.GetPodSandboxId()], event.ContainerFact{ID: c.GetId(), Name: c.GetMetadata().GetName()})
		}
	}
	var facts []event.Fact
	now := map[string]string{}
	for _, s := range sandboxes.GetItems() {
		now[s.GetId()] = s.GetMetadata().GetUid()
		f := r.pod(ctx, client, s)
		f.Containers = append(f.Containers, of[s.GetId()]...)
		facts = append(facts, event.Fact{Pod: &f})
	}
	return append(r.ended(now), facts...), nil
}

// now asks and waits for the answer, which is wanted for the events that follow. It does so only while the runtime is
// known to answer, so one that hangs holds up nothing twice.
func (r *runtimeSource) now(ask func(context.Context, cri.RuntimeServiceClient) error) bool {
	conn := r.conn.Load()
	if s := r.stateNow(); conn == nil || s.Error != "" || s.Answered.IsZero() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	err := ask(ctx, cri.NewRuntimeServiceClient(conn))
	if err != nil && ctx.Err() != nil {
		r.note(r.stateNow().Where, err)
	}
	return err == nil
}

// labels asks for those of one pod.
func (r *runtimeSource) labels(uid string) (f event.PodFact, ok bool) {
	ok = r.now(func(ctx context.Context, c cri.RuntimeServiceClient) error {
		of := &cri.PodSandboxFilter{LabelSelector: map[string]string{"io.kubernetes.pod.uid": uid}}
		all, err := c.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: of})
		for _, s := range all.GetItems() {
			f = event.PodFact{UID: uid, Source: "cri", Labels: s.GetLabels()}
		}
		return err
	})
	return f, ok && f.Labels != nil
}

// container asks about one container, which may have ended.
func (r *runtimeSource) container(uid, id string) (event.PodFact, bool) {
	var answer *cri.ContainerStatusResponse
	if !r.now(func(ctx context.Context, c cri.RuntimeServiceClient) (err error) {
		answer, err = c.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
		return err
	}) {
		return event.PodFact{}, false
	}
	s := answer.GetStatus()
	labels := s.GetLabels()
	if of := labels["io.kubernetes.pod.uid"]; of != "" && of != uid || s.GetId() != id {
		return event.PodFact{}, false // another pod's: better no name than a wrong one
	}
	return event.PodFact{UID: uid, Namespace: labels["io.kubernetes.pod.namespace"], Name: labels["io.kubernetes.pod.name"], Source: "cri",
		Containers: []event.ContainerFact{{ID: id, Name: s.GetMetadata().GetName()}}}, true
}

// ended returns what the runtime listed before and does not now.
func (r *runtimeSource) ended(now map[string]string) []event.Fact {
	var facts []event.Fact
	for id, uid := range r.sandboxes {
		if now[id] == "" {
			delete(r.details, id)
			facts = append(facts, event.Fact{Pod: &event.PodFact{UID: uid, Source: "cri", Gone: true,
				Containers: []event.ContainerFact{{ID: id}}}})
		}
	}
	r.sandboxes = now
	return facts
}

// pod is what the runtime says of a sandbox.
func (r *runtimeSource) pod(ctx context.Context, client cri.RuntimeServiceClient, s *cri.PodSandbox) event.PodFact {
	m := s.GetMetadata()
	f := event.PodFact{
		UID: m.GetUid(), Namespace: m.GetNamespace(), Name: m.GetName(), Source: "cri", Labels: s.GetLabels(),
		Containers: []event.ContainerFact{{ID: s.GetId(), Sandbox: true}},
	}
	if f.Labels == nil {
		f.Labels = map[string]string{} // it is known that there are none
	}
	d := r.details[s.GetId()]
	if d == nil {
		answer, err := client.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: s.GetId(), Verbose: true})
		if err != nil {
			return f // the next time, or never
		}
		d = answer
		r.details[s.GetId()] = d
	}
	if d.GetStatus().GetLinux().GetNamespaces().GetOptions().GetNetwork() == cri.NamespaceMode_NODE {
		f.HostNetwork = true
		return f // its address is the node's
	}
	f.Addrs = sandboxAddrs(d.GetStatus().GetNetwork())
	f.Netns = r.sandboxNetns(d.GetInfo()["info"])
	return f
}

func sandboxAddrs(n *cri.PodSandboxNetworkStatus) []netip.Addr {
	var addrs []netip.Addr
	texts := []string{n.GetIp()}
	for _, more := range n.GetAdditionalIps() {
		texts = append(texts, more.GetIp())
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// sandboxNetns finds the namespace in what containerd and CRI-O say beside the interface: it is known even if no
// process is in it, as with virtual machines.
func (r *runtimeSource) sandboxNetns(info string) uint32 {
	var spec struct {
		RuntimeSpec struct {
			Linux struct {
				Namespaces []struct{ Type, Path string }
			}
		}
	}
	if json.Unmarshal([]byte(info), &spec) != nil {
		return 0
	}
	for _, ns := range spec.RuntimeSpec.Linux.Namespaces {
		if ns.Type == "network" && ns.Path != "" {
			path := strings.Replace(ns.Path, "/var/run/", "/run/", 1) // a link, which would leave the node's root
			inode, _ := netns.Inode(filepath.Join(r.hostRoot, path))  // 0 if it is gone
			return inode
		}
	}
	return 0
}
