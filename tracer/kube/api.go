// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// kubeletConfig is the kubelet's own access: enough for this node's pods, services and endpoint slices.
const kubeletConfig = "etc/kubernetes/kubelet.conf"

// apiEvery is how often the API server is checked; changes come by the watches.
const apiEvery = 5 * time.Second

// apiSource asks the Kubernetes API for what only it knows: labels, services and what should serve them, and pods of
// other nodes, as far as they serve a service.
type apiSource struct {
	*source
	hostRoot, kubeconfig, node string
	ctx                        context.Context
	known                      cluster
	mu                         sync.Mutex // of known: every informer calls from a goroutine of its own
}

func newAPISource(hostRoot, kubeconfig, node string) *apiSource {
	// The client library logs to stderr in its own form, errors whatever its output is; doctor shows the last one.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	return &apiSource{
		source:     newSource("api", "names of services and of other nodes' pods are what this node's rules say of them"),
		hostRoot:   hostRoot,
		kubeconfig: kubeconfig,
		node:       node,
		known:      newCluster(node),
	}
}

// config is how to reach the API: as the user says, as a pod does, or as the kubelet does.
func (a *apiSource) config() (*rest.Config, error) {
	if a.kubeconfig != "" {
		return clientcmd.BuildConfigFromFlags("", a.kubeconfig)
	}
	if c, err := rest.InClusterConfig(); err == nil {
		return c, nil
	}
	path := filepath.Join(a.hostRoot, kubeletConfig)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("no access to the API: give --kubeconfig, or run in a pod (%w)", err)
	}
	c, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	for _, file := range []*string{&c.CertFile, &c.KeyFile, &c.CAFile, &c.BearerTokenFile} {
		if *file != "" {
			*file = filepath.Join(a.hostRoot, *file)
		}
	}
	return c, nil
}

// run watches until the context ends.
func (a *apiSource) run(ctx context.Context) {
	a.ctx = ctx
	c, err := a.config()
	if err != nil {
		a.answered(ctx, "", nil, err)
		return
	}
	v1, err := client(c, core.SchemeGroupVersion, "/api")
	if err != nil {
		a.answered(ctx, c.Host, nil, err)
		return
	}
	slices, err := client(c, discovery.SchemeGroupVersion, "/apis")
	if err != nil {
		a.answered(ctx, c.Host, nil, err)
		return
	}
	here := fields.OneTermEqualSelector("spec.nodeName", a.node)
	var running sync.WaitGroup
	synced := []cache.InformerSynced{
		a.watch(&running, v1, "nodes", &core.Node{}, fields.Everything()),
		a.watch(&running, v1, "pods", &core.Pod{}, here),
		a.watch(&running, v1, "services", &core.Service{}, fields.Everything()),
		a.watch(&running, slices, "endpointslices", &discovery.EndpointSlice{}, fields.Everything()),
	}
	running.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), synced...) {
			a.answered(ctx, c.Host, nil, nil)
		}
	})
	a.beat(ctx, v1, c.Host)
	running.Wait()
}

// client speaks one group of the API. Only the types that are asked for are compiled in.
func client(c *rest.Config, group schema.GroupVersion, path string) (*rest.RESTClient, error) {
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{core.AddToScheme, discovery.AddToScheme} {
		if err := add(types); err != nil {
			return nil, err
		}
	}
	c = rest.CopyConfig(c)
	c.GroupVersion, c.APIPath = &group, path
	c.NegotiatedSerializer = serializer.NewCodecFactory(types).WithoutConversion()
	return rest.RESTClientFor(c)
}

// watch keeps up with one kind of object.
func (a *apiSource) watch(running *sync.WaitGroup, c *rest.RESTClient, kind string, of runtime.Object, which fields.Selector) cache.InformerSynced {
	w := cache.NewFilteredListWatchFromClient(c, kind, meta.NamespaceAll, func(o *meta.ListOptions) { o.FieldSelector = which.String() })
	i := cache.NewSharedIndexInformer(w, of, 0, nil)
	h, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { a.take(o, false) },
		UpdateFunc: func(_, o any) { a.take(o, false) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			a.take(o, true)
		},
	})
	if err != nil {
		a.answered(a.ctx, "", nil, err) // only of an informer that has been stopped
		return func() bool { return false }
	}
	running.Go(func() { i.RunWithContext(a.ctx) })
	return h.HasSynced
}

// take sends an object's facts.
func (a *apiSource) take(o any, gone bool) {
	a.mu.Lock()
	facts := a.known.learn(o, gone)
	a.mu.Unlock()
	a.pass(a.ctx, facts)
}

// beat checks whether the API answers, for doctor.
func (a *apiSource) beat(ctx context.Context, c *rest.RESTClient, where string) {
	for {
		ask, cancel := context.WithTimeout(ctx, time.Second)
		err := c.Get().AbsPath("/version").Do(ask).Error()
		cancel()
		if err != nil {
			a.answered(ctx, where, nil, err)
		} else {
			a.note(where, nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(apiEvery):
		}
	}
}
