// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ktrace/decoder/event"
)

// configHash is the annotation by which the API's image of a static pod names the pod: the UID that the node knows.
const configHash = "kubernetes.io/config.hash"

// cluster keeps of the API's objects what means something only together with those of other kinds. A change costs what
// the object has, whatever the cluster has.
type cluster struct {
	here      string                 // the name of this node, whose pods are known better otherwise
	pods      map[objectKey]string   // UIDs
	services  map[objectKey]*service // and those that only have slices yet
	sliceOf   map[objectKey]objectKey
	nodes     map[string][]netip.Addr
	nodeAddrs map[netip.Addr]int // on how many nodes
	remote    map[string]int     // pods on other nodes that were emitted, by UID, and in how many places of slices they are
	emits     bool               // the nodes are known: targets can be distinguished from them
	names     map[string]string  // of nodes and namespaces, each kept once
}

type objectKey struct{ namespace, name string }

func keyOf(o meta.Object) objectKey { return objectKey{o.GetNamespace(), o.GetName()} }

// service is a service with its slices.
type service struct {
	listed bool
	addrs  []netip.Addr
	ports  []event.ServicePort
	slices map[string]*endpointSlice // by name; nil while none was seen
}

// endpointSlice is what is kept of one.
type endpointSlice struct {
	ports         []slicePort
	ready, ending []netip.Addr
	targets       []target
}

type slicePort struct {
	name string
	port uint16
}

// target is a pod on another node that serves.
type target struct {
	uid, name, node string
	addr            netip.Addr
}

func newCluster(node string) *cluster {
	return &cluster{
		here:      node,
		pods:      map[objectKey]string{},
		services:  map[objectKey]*service{},
		sliceOf:   map[objectKey]objectKey{},
		nodes:     map[string][]netip.Addr{},
		nodeAddrs: map[netip.Addr]int{},
		remote:    map[string]int{},
		names:     map[string]string{},
	}
}

// trim drops what learn does not read, before a list is complete. It implements cache.TransformFunc.
func trim(o any) (any, error) {
	if m, ok := o.(meta.Object); ok {
		m.SetManagedFields(nil)
	}
	if s, ok := o.(*discovery.EndpointSlice); ok {
		s.Annotations = nil
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			e.DeprecatedTopology, e.Hostname, e.Zone, e.Hints = nil, nil, nil, nil
		}
	}
	return o, nil
}

// replace takes the whole list of a kind: what it lacks is gone.
func (c *cluster) replace(kind string, list []any) []event.Fact {
	there := make(map[objectKey]bool, len(list))
	var facts []event.Fact
	for _, o := range list {
		if m, ok := o.(meta.Object); ok {
			there[keyOf(m)] = true
		}
		if n, ok := o.(*core.Node); ok {
			facts = append(facts, c.setNode(n.Name, nodeAddrs(n))...)
		} else {
			facts = append(facts, c.learn(o, false)...)
		}
	}
	for _, key := range c.keys(kind) {
		if !there[key] {
			facts = append(facts, c.remove(kind, key)...)
		}
	}
	if kind == "nodes" {
		facts = append(facts, c.allTargets()...)
	}
	return facts
}

func nodeAddrs(n *core.Node) (addrs []netip.Addr) {
	for _, a := range n.Status.Addresses {
		addrs = appendAddr(addrs, a.Address)
	}
	return addrs
}

// keys are those of the objects of a kind that are known.
func (c *cluster) keys(kind string) []objectKey {
	switch kind {
	case "nodes":
		var all []objectKey
		for name := range c.nodes {
			all = append(all, objectKey{"", name})
		}
		return all
	case "pods":
		return slices.Collect(maps.Keys(c.pods))
	case "services":
		return slices.Collect(maps.Keys(c.services))
	}
	return slices.Collect(maps.Keys(c.sliceOf))
}

func (c *cluster) remove(kind string, key objectKey) []event.Fact {
	switch kind {
	case "nodes":
		return c.setNode(key.name, nil)
	case "pods":
		uid := c.pods[key]
		delete(c.pods, key)
		return []event.Fact{{Pod: &event.PodFact{UID: uid, Source: "api", Gone: true}}}
	case "services":
		return c.removeService(key)
	}
	return c.setSlice(key, c.sliceOf[key], nil)
}

// learn returns the facts of an object that is there, or gone.
func (c *cluster) learn(o any, gone bool) []event.Fact {
	switch o := o.(type) {
	case *core.Node:
		if gone {
			return c.remove("nodes", keyOf(o))
		}
		return append(c.setNode(o.Name, nodeAddrs(o)), c.allTargets()...)
	case *core.Pod:
		if gone {
			c.pods[keyOf(o)] = podOf(o).UID
			return c.remove("pods", keyOf(o))
		}
		f := podOf(o)
		c.pods[keyOf(o)] = f.UID
		return []event.Fact{{Pod: &f}}
	case *core.Service:
		if gone {
			return c.removeService(keyOf(o))
		}
		return c.setService(o)
	case *discovery.EndpointSlice:
		of := objectKey{c.name(o.Namespace), o.Labels[discovery.LabelServiceName]}
		if gone {
			return c.setSlice(keyOf(o), of, nil)
		}
		return c.setSlice(keyOf(o), of, c.slice(o))
	}
	return nil
}

// name returns the one copy of a name that many objects have.
func (c *cluster) name(n string) string {
	if one, ok := c.names[n]; ok {
		return one
	}
	n = strings.Clone(n)
	c.names[n] = n
	return n
}

// podOf is what the API says of a pod of this node.
func podOf(p *core.Pod) event.PodFact {
	f := event.PodFact{
		UID: cmp.Or(p.Annotations[configHash], string(p.UID)), Namespace: p.Namespace, Name: p.Name, Source: "api",
		Labels: p.Labels, HostNetwork: p.Spec.HostNetwork,
	}
	if f.Labels == nil {
		f.Labels = map[string]string{} // it is known that there are none
	}
	if ended := p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed; !ended && !f.HostNetwork {
		for _, ip := range p.Status.PodIPs { // of a pod that ended, others have them
			f.Addrs = appendAddr(f.Addrs, ip.IP)
		}
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses) {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && s.State.Running != nil {
			f.Containers = append(f.Containers, event.ContainerFact{ID: id, Name: s.Name})
		}
	}
	return f
}

func appendAddr(addrs []netip.Addr, text string) []netip.Addr {
	if a, err := netip.ParseAddr(text); err == nil {
		return append(addrs, a)
	}
	return addrs
}

// setNode keeps a node's addresses, none if it is gone. They have to be known for pods on the host network to be distinguished from
// others.
func (c *cluster) setNode(name string, addrs []netip.Addr) []event.Fact {
	old, known := c.nodes[name]
	if slices.Equal(old, addrs) && known == (addrs != nil) {
		return nil // as with most of its heartbeats
	}
	for _, a := range old {
		if c.nodeAddrs[a]--; c.nodeAddrs[a] == 0 {
			delete(c.nodeAddrs, a)
		}
	}
	for _, a := range addrs {
		c.nodeAddrs[a]++
	}
	if addrs == nil {
		delete(c.nodes, name)
		return nil // an address that a node had, another host may have
	}
	c.nodes[name] = addrs
	return c.onNode(addrs)
}

// onNode takes back the pods that have a node's address: they share it.
func (c *cluster) onNode(addrs []netip.Addr) []event.Fact {
	if len(c.remote) == 0 {
		return nil
	}
	var facts []event.Fact
	for _, s := range c.services {
		for _, of := range s.slices {
			for _, t := range of.targets {
				if slices.Contains(addrs, t.addr) && c.remote[t.uid] > 0 {
					delete(c.remote, t.uid)
					facts = append(facts, goneTarget(t.uid))
				}
			}
		}
	}
	return facts
}

func goneTarget(uid string) event.Fact {
	return event.Fact{Pod: &event.PodFact{UID: uid, Source: "api", Gone: true}}
}

// of returns a service, which is new if it was not known.
func (c *cluster) of(key objectKey) *service {
	s := c.services[key]
	if s == nil {
		s = &service{}
		c.services[key] = s
	}
	return s
}

func (c *cluster) removeService(key objectKey) []event.Fact {
	s := c.services[key]
	if s == nil || !s.listed {
		return nil
	}
	s.listed, s.addrs, s.ports = false, nil, nil
	if len(s.slices) == 0 {
		delete(c.services, key)
	}
	return []event.Fact{{Service: &event.ServiceFact{Namespace: key.namespace, Name: key.name, Source: "api", Gone: true}}}
}

func (c *cluster) setService(o *core.Service) []event.Fact {
	s := c.of(keyOf(o))
	s.listed, s.addrs, s.ports = true, nil, nil
	for _, ip := range o.Spec.ClusterIPs {
		s.addrs = appendAddr(s.addrs, ip) // not "None"
	}
	for _, p := range o.Spec.Ports {
		s.ports = append(s.ports, event.ServicePort{Name: p.Name, Proto: strings.ToLower(string(p.Protocol)), Port: uint16(p.Port), TargetPort: p.TargetPort.String()})
	}
	return s.fact(keyOf(o))
}

// fact is a service with what should serve it.
func (s *service) fact(key objectKey) []event.Fact {
	if !s.listed {
		return nil // its slices came first
	}
	f := event.ServiceFact{Namespace: key.namespace, Name: key.name, Source: "api", Addrs: s.addrs}
	for _, p := range s.ports {
		p.Known = s.slices != nil
		p.Endpoints, p.Ending = s.endpoints(p.Name)
		f.Ports = append(f.Ports, p)
	}
	return []event.Fact{{Service: &f}}
}

// endpoints are those of one port that are ready, and those that are ending but still serve.
func (s *service) endpoints(port string) (ready, ending []netip.AddrPort) {
	for _, name := range slices.Sorted(maps.Keys(s.slices)) {
		of := s.slices[name]
		i := slices.IndexFunc(of.ports, func(p slicePort) bool { return p.name == port })
		if i < 0 {
			continue
		}
		for _, a := range of.ready {
			ready = append(ready, netip.AddrPortFrom(a, of.ports[i].port))
		}
		for _, a := range of.ending {
			ending = append(ending, netip.AddrPortFrom(a, of.ports[i].port))
		}
	}
	return ready, ending
}

// slice keeps what is needed of one.
func (c *cluster) slice(o *discovery.EndpointSlice) *endpointSlice {
	s := &endpointSlice{}
	for _, p := range o.Ports {
		if p.Port != nil {
			s.ports = append(s.ports, slicePort{c.name(deref(p.Name)), uint16(*p.Port)})
		}
	}
	for _, e := range o.Endpoints {
		to := &s.ready
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			if to = &s.ending; e.Conditions.Serving == nil || !*e.Conditions.Serving {
				to = nil
			}
		}
		elsewhere := e.TargetRef != nil && e.TargetRef.Kind == "Pod" && deref(e.NodeName) != "" && deref(e.NodeName) != c.here
		for _, text := range e.Addresses {
			a, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			if to != nil {
				*to = append(*to, a)
			}
			if elsewhere {
				s.targets = append(s.targets, target{string(e.TargetRef.UID), e.TargetRef.Name, c.name(*e.NodeName), a})
			}
		}
	}
	return s
}

// setSlice keeps a slice of a service, nil if it is gone.
func (c *cluster) setSlice(key, of objectKey, now *endpointSlice) []event.Fact {
	var facts []event.Fact
	if before, ok := c.sliceOf[key]; ok && before != of { // its label changed
		facts = c.setSlice(key, before, nil)
	}
	s := c.of(of)
	old := s.slices[key.name]
	if now == nil {
		delete(c.sliceOf, key)
		if delete(s.slices, key.name); len(s.slices) == 0 && !s.listed {
			delete(c.services, of)
		}
		now = &endpointSlice{}
	} else {
		if s.slices == nil {
			s.slices = map[string]*endpointSlice{}
		}
		c.sliceOf[key], s.slices[key.name] = of, now
	}
	if old == nil {
		old = &endpointSlice{}
	}
	facts = append(facts, s.fact(of)...)
	if !c.emits {
		return facts // which targets have a node's address is not known yet
	}
	return append(facts, c.changed(of.namespace, old.targets, now.targets)...)
}

// changed returns what changed in the pods on other nodes that serve.
func (c *cluster) changed(namespace string, old, now []target) []event.Fact {
	var facts []event.Fact
	had := make(map[target]bool, len(old))
	for _, t := range old {
		had[t] = true
	}
	for _, t := range now {
		if had[t] {
			delete(had, t)
			continue
		}
		facts = append(facts, c.add(namespace, t)...)
	}
	for _, t := range old {
		if !had[t] || c.nodeAddrs[t.addr] > 0 {
			continue
		}
		switch c.remote[t.uid] {
		case 0:
		case 1:
			delete(c.remote, t.uid)
			facts = append(facts, goneTarget(t.uid))
		default:
			c.remote[t.uid]--
		}
	}
	return facts
}

// add returns the fact of a target. Pods on the host network have a node's address, which they share.
func (c *cluster) add(namespace string, t target) []event.Fact {
	if c.nodeAddrs[t.addr] > 0 {
		return nil
	}
	c.remote[t.uid]++
	return []event.Fact{{Pod: &event.PodFact{UID: t.uid, Namespace: namespace, Name: t.name, Source: "api", Node: t.node, Addrs: []netip.Addr{t.addr}}}}
}

// allTargets returns all, once the nodes are known.
func (c *cluster) allTargets() []event.Fact {
	if c.emits || len(c.nodeAddrs) == 0 {
		return nil
	}
	c.emits = true
	var facts []event.Fact
	for key, s := range c.services {
		for _, of := range s.slices {
			for _, t := range of.targets {
				facts = append(facts, c.add(key.namespace, t)...)
			}
		}
	}
	return facts
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
