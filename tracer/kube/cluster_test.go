// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"cmp"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/tracer/kube"
)

// breakable is a way to an API server that can be cut.
type breakable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

// wayTo listens on loopback and passes on what comes to the server at addr.
func wayTo(t *testing.T, addr string) *breakable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &breakable{Listener: listener}
	t.Cleanup(b.cut)
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // cut
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				_ = near.Close() // as if the server were not there
				continue
			}
			b.mu.Lock()
			b.conns = append(b.conns, near, far)
			b.mu.Unlock()
			go func() { _, _ = io.Copy(near, far); _ = near.Close() }()
			go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		}
	}()
	return b
}

func (b *breakable) cut() {
	_ = b.Close() // the second time it is closed already
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close() // or has ended by itself
	}
}

// realCluster is how to reach the cluster that KTRACE_CLUSTER, a kubeconfig, is for, by a way that can be cut.
func realCluster(t *testing.T) (c *rest.Config, kubeconfig string, way *breakable) {
	t.Helper()
	file := os.Getenv("KTRACE_CLUSTER")
	if file == "" {
		t.Skip("needs a node of a cluster: KTRACE_CLUSTER=kubeconfig make test-cluster")
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err = clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	server, _, err := rest.DefaultServerUrlFor(c)
	if err != nil {
		t.Fatal(err)
	}
	way = wayTo(t, server.Host)
	cluster := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
	cluster.Server, cluster.TLSServerName = "https://"+way.Addr().String(), server.Hostname()
	kubeconfig = filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return c, kubeconfig, way
}

// list asks the server itself.
func list[T any](t *testing.T, c *rest.Config, path, selector string) (all T) {
	t.Helper()
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Get(c.Host + path + "?fieldSelector=" + url.QueryEscape(selector))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&all); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, answer.Status, err)
	}
	return all
}

func TestRealClusterIsKnownAndStaysKnownWithoutItsServer(t *testing.T) {
	c, kubeconfig, way := realCluster(t)
	here := cmp.Or(os.Getenv("NODE_NAME"), list[core.NodeList](t, c, "/api/v1/nodes", "").Items[0].Name)
	n := watchWith(t, kube.Options{HostRoot: "/", Kubeconfig: kubeconfig, Node: here})
	services := map[string]event.ServiceFact{}
	dns := list[discovery.EndpointSliceList](t, c, "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", "")
	n.await("kube-dns with its endpoints", func(e event.Event) bool {
		if f, ok := e.Body.(event.Fact); ok && f.Service != nil && f.Service.Source == "api" {
			services[f.Service.Namespace+"/"+f.Service.Name] = *f.Service
		}
		return sameEndpoints(services["kube-system/kube-dns"], dns.Items)
	})
	pods := list[core.PodList](t, c, "/api/v1/pods", "spec.nodeName="+here).Items
	checkPods(t, n, pods)
	way.cut()
	n.await("the API to be found gone", func(event.Event) bool { return state(t, n.watcher, "api").Error != "" })
	checkPods(t, n, pods)
	if state(t, n.watcher, "api").Answered.IsZero() {
		t.Error("it is forgotten that the API ever answered")
	}
	t.Logf("%d pods and %d services, with the server and without", len(pods), len(services))
}

// sameEndpoints reports whether a service has just the endpoints that the slices list as ready.
func sameEndpoints(s event.ServiceFact, all []discovery.EndpointSlice) bool {
	want := map[netip.Addr]bool{}
	for _, slice := range all {
		for _, e := range slice.Endpoints {
			if slice.Labels[discovery.LabelServiceName] == s.Name && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				want[netip.MustParseAddr(e.Addresses[0])] = true
			}
		}
	}
	for _, p := range s.Ports {
		if len(p.Endpoints) != len(want) || slices.ContainsFunc(p.Endpoints, func(a netip.AddrPort) bool { return !want[a.Addr()] }) {
			return false
		}
	}
	return len(s.Ports) > 0 && len(want) > 0
}

// checkPods compares what is known of the node's pods with what the server says of them.
func checkPods(t *testing.T, n *node, pods []core.Pod) {
	t.Helper()
	if len(pods) == 0 {
		t.Fatal("the cluster runs no pods on this node")
	}
	for _, p := range pods {
		uid := cmp.Or(p.Annotations["kubernetes.io/config.hash"], string(p.UID))
		i, ok := n.index.Pod(uid)
		if !ok || i.Namespace != p.Namespace || i.Name != p.Name || i.HostNetwork != p.Spec.HostNetwork {
			t.Errorf("%s/%s: %+v", p.Namespace, p.Name, i)
		}
		for _, a := range p.Status.PodIPs {
			if !p.Spec.HostNetwork && !slices.Contains(i.Addrs, netip.MustParseAddr(a.IP)) {
				t.Errorf("%s/%s lacks %s: %+v", p.Namespace, p.Name, a.IP, i)
			}
		}
		for _, s := range p.Status.ContainerStatuses {
			if !slices.ContainsFunc(i.Containers, func(c *pod.Container) bool { return c.Name == s.Name && len(c.Cgroups) > 0 }) {
				t.Errorf("%s/%s: container %s: %+v", p.Namespace, p.Name, s.Name, i.Containers)
			}
		}
	}
}
