// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// apiEvery is how often the API server is checked; changes come by the watches.
const apiEvery = 5 * time.Second

// apiSource asks the Kubernetes API for what only it knows: labels, services and what should serve them, and pods of
// other nodes, as far as they serve a service.
type apiSource struct {
	*source
	hostRoot, kubeconfig, node string
	ctx                        context.Context
	version                    string
	where                      string
	known                      *cluster
	lists                      map[string]error // how the last list of each kind ended
	mu                         sync.Mutex       // of known and lists: every reflector calls from a goroutine of its own
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
		lists:      map[string]error{},
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
	return kubeletAccess(a.hostRoot)
}

// run watches until the context ends.
func (a *apiSource) run(ctx context.Context) {
	a.ctx = ctx
	c, err := a.config()
	if err != nil {
		a.answered(ctx, "", nil, err)
		return
	}
	a.where, c.UserAgent = c.Host, "ktrace/"+cmp.Or(a.version, "unknown")
	c.Wrap(func(rt http.RoundTripper) http.RoundTripper { return boundedBodies{rt} })
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
	kinds := []kind{
		{"nodes", v1, &core.Node{}, fields.Everything()},
		{"pods", v1, &core.Pod{}, fields.OneTermEqualSelector("spec.nodeName", a.node)},
		{"services", v1, &core.Service{}, fields.Everything()},
		{"endpointslices", slices, &discovery.EndpointSlice{}, fields.Everything()},
	}
	for _, k := range kinds {
		a.lists[k.name] = errNotAnswered
	}
	var running sync.WaitGroup
	for _, k := range kinds {
		reflector := cache.NewReflectorWithOptions(a.listWatch(k), k.of, objects{a, k.name}, cache.ReflectorOptions{Name: "ktrace"})
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
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
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	c.NegotiatedSerializer = serializer.NewCodecFactory(types).WithoutConversion()
	return rest.RESTClientFor(c)
}

// kind is a kind of object that is watched.
type kind struct {
	name   string
	client *rest.RESTClient
	of     runtime.Object
	which  fields.Selector
}

// errNotAnswered is why nothing is known of a kind at first.
var errNotAnswered = errors.New("not answered yet")

// listWatch asks for a kind of object. A list that is refused is an answer, too.
func (a *apiSource) listWatch(k kind) *cache.ListWatch {
	ask := func(o meta.ListOptions) *rest.Request {
		o.FieldSelector = k.which.String()
		return k.client.Get().Resource(k.name).VersionedParams(&o, meta.ParameterCodec)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o meta.ListOptions) (runtime.Object, error) {
			list, err := ask(o).Do(ctx).Get()
			if err != nil && ctx.Err() == nil {
				a.listed(k.name, err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o meta.ListOptions) (watch.Interface, error) {
			o.Watch = true
			return ask(o).Watch(ctx)
		},
	}
}

// listed notes how the list of a kind ended. After the first of every kind, nothing waits for the API.
func (a *apiSource) listed(kind string, err error) {
	a.mu.Lock()
	a.lists[kind] = err
	err, waits := a.refused()
	a.mu.Unlock()
	if waits {
		return
	}
	a.answered(a.ctx, a.where, nil, err)
}

// refused returns why kinds could not be listed, and whether some have not been answered.
func (a *apiSource) refused() (err error, waits bool) {
	var errs []error
	for _, kind := range slices.Sorted(maps.Keys(a.lists)) {
		switch e := a.lists[kind]; {
		case errors.Is(e, errNotAnswered):
			waits = true
		case apierrors.IsForbidden(e):
			errs = append(errs, fmt.Errorf("may not list %s", kind))
		case e != nil:
			errs = append(errs, fmt.Errorf("%s: %w", kind, e))
		}
	}
	return errors.Join(errs...), waits
}

// objects is the cache.ReflectorStore of a kind: what comes is reduced to facts, and not kept.
type objects struct {
	a    *apiSource
	kind string
}

// Add implements cache.ReflectorStore.
func (o objects) Add(v any) error { return o.take(v, false) }

// Update implements cache.ReflectorStore.
func (o objects) Update(v any) error { return o.take(v, false) }

// Delete implements cache.ReflectorStore.
func (o objects) Delete(v any) error { return o.take(v, true) }

// Resync implements cache.ReflectorStore.
func (objects) Resync() error { return nil }

// Transformer implements cache.TransformingStore: of what a server streams only that is kept until all of it is there.
func (objects) Transformer() cache.TransformFunc { return trim }

// Replace takes a whole list.
func (o objects) Replace(list []any, _ string) error {
	o.a.mu.Lock()
	facts := o.a.known.replace(o.kind, list)
	o.a.mu.Unlock()
	o.a.pass(o.a.ctx, facts)
	o.a.listed(o.kind, nil)
	return nil
}

// take sends an object's facts.
func (o objects) take(v any, gone bool) error {
	o.a.mu.Lock()
	facts := o.a.known.learn(v, gone)
	o.a.mu.Unlock()
	o.a.pass(o.a.ctx, facts)
	return nil
}

// beat checks whether the API answers, for doctor.
func (a *apiSource) beat(ctx context.Context, c *rest.RESTClient, where string) {
	for {
		ask, cancel := context.WithTimeout(ctx, time.Second)
		err := c.Get().AbsPath("/version").Do(ask).Error()
		cancel()
		a.mu.Lock()
		refused, waits := a.refused()
		a.mu.Unlock()
		switch {
		case err != nil:
			a.answered(ctx, where, nil, err)
		case refused == nil && !waits:
			a.note(where, nil)
		case !waits:
			a.note(where, refused)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(apiEvery):
		}
	}
}
