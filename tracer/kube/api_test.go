// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/testdata/lab"
	"ktrace/tracer/kube"
)

// api is an API server that has what it is given, and on which nothing changes.
type api struct {
	nodes    []core.Node
	pods     []core.Pod
	services []core.Service
	slices   []discovery.EndpointSlice
}

// ServeHTTP answers lists, keeps watches open and refuses what older servers refuse.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case q.Get("sendInitialEvents") != "":
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`, http.StatusUnprocessableEntity)
		return
	case q.Get("watch") != "":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	lists := map[string]any{
		"/api/v1/nodes":    core.NodeList{TypeMeta: meta.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, Items: a.nodes},
		"/api/v1/pods":     core.PodList{TypeMeta: meta.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: a.pods},
		"/api/v1/services": core.ServiceList{TypeMeta: meta.TypeMeta{Kind: "ServiceList", APIVersion: "v1"}, Items: a.services},
		"/apis/discovery.k8s.io/v1/endpointslices": discovery.EndpointSliceList{
			TypeMeta: meta.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"}, Items: a.slices},
		"/version": map[string]string{"gitVersion": "v1.33.0"},
	}
	list, ok := lists[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // to a client that may have gone
}

// serve starts the server and returns a kubeconfig for it.
func (a *api) serve(t *testing.T) (server *httptest.Server, kubeconfig string) {
	t.Helper()
	server = httptest.NewServer(a)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	kubeconfig = filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"%s"}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c","user":""}}]}`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return server, kubeconfig
}

func to[T any](v T) *T { return &v }

// shop is a cluster of two nodes: the service web has a pod on the other one, and one on its host network.
func shop() *api {
	target := func(name string, uid types.UID, ip string) discovery.Endpoint {
		return discovery.Endpoint{Addresses: []string{ip}, NodeName: to("other"),
			TargetRef: &core.ObjectReference{Kind: "Pod", Namespace: "shop", Name: name, UID: uid}}
	}
	web, proxy := target("web-1", "w", "10.244.7.1"), target("proxy-1", "p", "192.0.2.7")
	return &api{
		nodes: []core.Node{{ObjectMeta: meta.ObjectMeta{Name: "other"},
			Status: core.NodeStatus{Addresses: []core.NodeAddress{{Type: core.NodeInternalIP, Address: "192.0.2.7"}}}}},
		pods: []core.Pod{{ObjectMeta: meta.ObjectMeta{Namespace: "kube-system", Name: "etcd-here", UID: "of-the-mirror",
			Annotations: map[string]string{"kubernetes.io/config.hash": "0123456789abcdef0123456789abcdef"}, Labels: map[string]string{"tier": "control-plane"}},
			Spec: core.PodSpec{HostNetwork: true}, Status: core.PodStatus{PodIPs: []core.PodIP{{IP: "192.0.2.1"}}}}},
		services: []core.Service{{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: core.ServiceSpec{
			ClusterIPs: []string{"10.96.1.1"}, Ports: []core.ServicePort{{Name: "http", Protocol: core.ProtocolTCP, Port: 80}}}}},
		slices: []discovery.EndpointSlice{{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: "web-x", Labels: map[string]string{discovery.LabelServiceName: "web"}},
			Ports: []discovery.EndpointPort{{Name: to("http"), Port: to(int32(8080))}}, Endpoints: []discovery.Endpoint{web, proxy}}},
	}
}

func TestAPIReportsServicesRemotePodsAndStaticOnes(t *testing.T) {
	server, kubeconfig := shop().serve(t)
	n := watchWith(t, kube.Options{HostRoot: lab.NewKubelet(t).Root, Kubeconfig: kubeconfig, Node: "here"})
	var service event.ServiceFact
	n.await("the service with its endpoints", func(e event.Event) bool {
		f, ok := e.Body.(event.Fact)
		if ok && f.Service != nil {
			service = *f.Service
		}
		return len(service.Ports) == 1 && len(service.Ports[0].Endpoints) == 2
	})
	if p := service.Ports[0]; service.Name != "web" || p.Port != 80 || !slices.Contains(p.Endpoints, netip.MustParseAddrPort("10.244.7.1:8080")) {
		t.Errorf("%+v", service)
	}
	n.await("the remote pod", func(event.Event) bool { _, ok := n.index.Pod("w"); return ok })
	if p, _ := n.index.Pod("w"); p.Name != "web-1" || p.Node != "other" || len(p.Addrs) != 1 {
		t.Errorf("%+v", p)
	}
	if p, ok := n.index.Pod("p"); ok {
		t.Errorf("a node's address is taken for a pod's own: %+v", p)
	}
	const hash = "0123456789abcdef0123456789abcdef"
	n.await("the static pod", func(event.Event) bool { _, ok := n.index.Pod(hash); return ok })
	etcd, _ := n.index.Pod(hash)
	if etcd.Name != "etcd-here" || !etcd.HostNetwork || len(etcd.Addrs) > 0 || etcd.Labels["tier"] != "control-plane" {
		t.Errorf("%+v", etcd)
	}
	server.CloseClientConnections()
	server.Close()
	n.await("the API to be found gone", func(event.Event) bool { return state(t, n.watcher, "api").Error != "" })
	if p, ok := n.index.Pod("w"); !ok || p.Name != "web-1" || state(t, n.watcher, "api").Answered.IsZero() {
		t.Errorf("names went with the API: %+v", p)
	}
}

func TestPodOnAnotherNodeIsAnErrorThatNamesTheNode(t *testing.T) {
	_, kubeconfig := shop().serve(t)
	s, err := pod.NewSelector([]string{"shop/web-1"}, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	w, err := kube.NewWatcher(kube.Options{HostRoot: lab.NewKubelet(t).Root, Kubeconfig: kubeconfig, Node: "here", Selector: s, Say: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	if _, err := w.Begin(); !errors.Is(err, kube.ErrElsewhere) || !strings.Contains(err.Error(), "shop/web-1 on other") {
		t.Errorf("%v", err)
	}
}
