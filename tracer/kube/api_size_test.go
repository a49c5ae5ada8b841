// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"

	"ktrace/decoder/event"
)

// largeCluster is an API server with services of ten endpoints each, in protobuf.
type largeCluster struct {
	lists  map[string][]byte
	slices []discovery.EndpointSlice
	agents map[string]bool
}

func newLargeCluster(t testing.TB, services, nodes int) *largeCluster {
	t.Helper()
	const endpoints = 10
	var n core.NodeList
	for i := range nodes {
		n.Items = append(n.Items, core.Node{ObjectMeta: meta.ObjectMeta{Name: fmt.Sprintf("node-%d", i)},
			Status: core.NodeStatus{Addresses: []core.NodeAddress{{Type: core.NodeInternalIP, Address: fmt.Sprintf("192.168.%d.%d", i/250, i%250)}}}})
	}
	var s core.ServiceList
	var e discovery.EndpointSliceList
	for i := range services {
		name, namespace := fmt.Sprintf("service-%d", i), fmt.Sprintf("namespace-%d", i%100)
		s.Items = append(s.Items, core.Service{ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name}, Spec: core.ServiceSpec{
			ClusterIPs: []string{fmt.Sprintf("10.96.%d.%d", i/250, i%250)}, Ports: []core.ServicePort{{Name: "http", Protocol: core.ProtocolTCP, Port: 80}}}})
		slice := discovery.EndpointSlice{ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name + "-abcde", Labels: map[string]string{discovery.LabelServiceName: name}},
			Ports: []discovery.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080))}}}
		for j := range endpoints {
			k := i*endpoints + j
			slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 128+k/62500, k/250%250, k%250)},
				NodeName: ptr(fmt.Sprintf("node-%d", k%nodes)), TargetRef: &core.ObjectReference{Kind: "Pod", Namespace: namespace,
					Name: fmt.Sprintf("%s-7d9c5b8f6-%05d", name, j), UID: types.UID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", k))}})
		}
		e.Items = append(e.Items, slice)
	}
	scheme := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{core.AddToScheme, discovery.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	encode := func(list apiruntime.Object, version, kind string) []byte {
		var b bytes.Buffer
		list.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(version, kind))
		if err := protobuf.NewSerializer(scheme, scheme).Encode(list, &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	return &largeCluster{slices: e.Items, agents: map[string]bool{}, lists: map[string][]byte{
		"/api/v1/nodes":    encode(&n, "v1", "NodeList"),
		"/api/v1/pods":     encode(&core.PodList{}, "v1", "PodList"),
		"/api/v1/services": encode(&s, "v1", "ServiceList"),
		"/apis/discovery.k8s.io/v1/endpointslices": encode(&e, "discovery.k8s.io/v1", "EndpointSliceList"),
	}}
}

func ptr[T any](v T) *T { return &v }

// ServeHTTP answers lists, and keeps watches open.
func (c *largeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case q.Get("sendInitialEvents") != "":
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`, http.StatusUnprocessableEntity)
	case q.Get("watch") != "":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case r.URL.Path == "/version":
		_, _ = w.Write([]byte("{}")) // to a client that may have gone
	case !strings.HasPrefix(r.Header.Get("Accept"), apiruntime.ContentTypeProtobuf) || !strings.HasPrefix(r.Header.Get("User-Agent"), "ktrace/v1.2.3"):
		http.Error(w, "want protobuf, and to know who asks", http.StatusNotAcceptable)
	default:
		w.Header().Set("Content-Type", apiruntime.ContentTypeProtobuf)
		_, _ = w.Write(c.lists[r.URL.Path])
	}
}

// kubeconfigFor is the file that leads to a server.
func kubeconfigFor(t testing.TB, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"%s"}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c","user":""}}]}`, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what a finalizer held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// learnAll reads the whole cluster, and returns the source and how many facts there were.
func learnAll(t testing.TB, kubeconfig string) (a *apiSource, services, pods int) {
	t.Helper()
	a = newAPISource("/", kubeconfig, "here")
	a.version = "v1.2.3"
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	deadline := time.After(30 * time.Second)
	count := func(facts []event.Fact) {
		for _, f := range facts {
			if f.Service != nil && len(f.Service.Ports[0].Endpoints) > 0 {
				services++
			}
			if f.Pod != nil {
				pods++
			}
		}
	}
	for {
		select {
		case facts := <-a.facts:
			count(facts)
		case <-a.tried:
			for {
				select {
				case facts := <-a.facts:
					count(facts)
					continue
				default:
				}
				return a, services, pods
			}
		case <-deadline:
			t.Fatalf("not learned; %+v", a.stateNow())
		}
	}
}

// BenchmarkAPI learns a large cluster from a server: 5,000 services with 10 endpoints each, 1,000 nodes.
func BenchmarkAPI(b *testing.B) {
	c := newLargeCluster(b, 5000, 1000)
	server := httptest.NewServer(c)
	b.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	kubeconfig := kubeconfigFor(b, server)
	for b.Loop() {
		before, began := heap(), cpuTime(b)
		a, services, pods := learnAll(b, kubeconfig)
		b.ReportMetric(float64((cpuTime(b) - began).Milliseconds()), "cpu-ms/cluster")
		b.ReportMetric(float64(int64(heap())-int64(before))/(1<<20), "heap-MB")
		if services < 5000 || pods != 50000 {
			b.Fatalf("%d services and %d pods", services, pods)
		}
		changes := 1000
		begin := time.Now()
		for i := range changes {
			s := c.slices[i].DeepCopy()
			s.Endpoints = s.Endpoints[1:]
			a.mu.Lock()
			facts := a.known.learn(s, false)
			a.mu.Unlock()
			if len(facts) != 2 {
				b.Fatalf("%d facts of a change", len(facts))
			}
		}
		b.ReportMetric(float64(time.Since(begin).Microseconds())/float64(changes), "µs/change")
		runtime.KeepAlive(a)
	}
}

// TestLargeClusterIsLearnedInLinearTime: the goals, on a tenth of the cluster.
func TestLargeClusterIsLearnedInLinearTime(t *testing.T) {
	c := newLargeCluster(t, 500, 100)
	server := httptest.NewServer(c)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	began := cpuTime(t)
	_, services, pods := learnAll(t, kubeconfigFor(t, server))
	if took := cpuTime(t) - began; took > time.Second || services < 500 || pods != 5000 {
		t.Errorf("%d services and %d pods took %v of CPU", services, pods, took)
	}
}

// refusing is a server that lets a kubelet list what the node authorizer lets it.
type refusing struct{ *largeCluster }

func (r refusing) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Query().Get("sendInitialEvents") == "" && (strings.HasSuffix(q.URL.Path, "nodes") || strings.HasSuffix(q.URL.Path, "endpointslices")) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"not for nodes","code":403}`))
		return
	}
	r.largeCluster.ServeHTTP(w, q)
}

func TestRefusedListIsAnAnswer(t *testing.T) {
	server := httptest.NewServer(refusing{newLargeCluster(t, 5, 5)})
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	begin := time.Now()
	a, _, pods := learnAll(t, kubeconfigFor(t, server)) // returns once every list was answered
	if took := time.Since(begin); took > 200*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if s := a.stateNow(); !strings.Contains(s.Error, "may not list endpointslices") || !strings.Contains(s.Error, "may not list nodes") || pods != 0 {
		t.Errorf("%+v", s)
	}
}

// endless is a server whose answer does not end.
type endless struct{}

func (endless) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	block := make([]byte, 1<<20)
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestAnswerOfTheAPIIsBounded(t *testing.T) {
	server := httptest.NewServer(endless{})
	t.Cleanup(server.Close)
	answer, err := (&http.Client{Transport: boundedBodies{http.DefaultTransport}}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	n := 0
	for block := make([]byte, 1<<20); err == nil; {
		var m int
		m, err = answer.Body.Read(block)
		n += m
	}
	if n != maxBody || err != errBodyTooLarge {
		t.Errorf("%d bytes, then %v", n, err)
	}
}
