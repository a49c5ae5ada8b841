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

	"ktrace/decoder/event"
)

// configHash is the annotation by which the API's image of a static pod names the pod: the UID that the node knows.
const configHash = "kubernetes.io/config.hash"

// cluster keeps the API's objects that mean something only together with those of other kinds.
type cluster struct {
	services map[string]*core.Service                       // by ns/name
	slices   map[string]map[string]*discovery.EndpointSlice // of a service, by name
	nodes    map[string][]netip.Addr
	here     string                   // the name of this node, whose pods are known better otherwise
	remote   map[string]event.PodFact // that were emitted, by UID
}

func newCluster(node string) cluster {
	return cluster{
		here:     node,
		remote:   map[string]event.PodFact{},
		services: map[string]*core.Service{},
		slices:   map[string]map[string]*discovery.EndpointSlice{},
		nodes:    map[string][]netip.Addr{},
	}
}

// learn returns the facts of an object that is there, or gone.
func (c cluster) learn(o any, gone bool) []event.Fact {
	switch o := o.(type) {
	case *core.Node:
		return c.learnNode(o)
	case *core.Pod:
		f := podOf(o)
		f.Gone = gone
		return []event.Fact{{Pod: &f}}
	case *core.Service:
		return c.learnService(o, gone)
	case *discovery.EndpointSlice:
		return c.learnSlice(o, gone)
	}
	return nil
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

func (c cluster) learnNode(n *core.Node) []event.Fact {
	var addrs []netip.Addr
	for _, a := range n.Status.Addresses {
		addrs = appendAddr(addrs, a.Address)
	}
	if slices.Equal(c.nodes[n.Name], addrs) {
		return nil // as with most of its heartbeats
	}
	c.nodes[n.Name] = addrs
	return c.targets()
}

func (c cluster) learnService(s *core.Service, gone bool) []event.Fact {
	name := s.Namespace + "/" + s.Name
	if gone {
		delete(c.services, name)
		return []event.Fact{{Service: &event.ServiceFact{Namespace: s.Namespace, Name: s.Name, Source: "api", Gone: true}}}
	}
	c.services[name] = s
	return c.service(name)
}

func (c cluster) learnSlice(s *discovery.EndpointSlice, gone bool) []event.Fact {
	service := s.Namespace + "/" + s.Labels[discovery.LabelServiceName]
	of := c.slices[service]
	if of == nil {
		of = map[string]*discovery.EndpointSlice{}
		c.slices[service] = of
	}
	if gone {
		delete(of, s.Name)
	} else {
		of[s.Name] = s
	}
	return append(c.service(service), c.targets()...)
}

// service is a service with what should serve it.
func (c cluster) service(name string) []event.Fact {
	s := c.services[name]
	if s == nil {
		return nil // its slices came first
	}
	f := event.ServiceFact{Namespace: s.Namespace, Name: s.Name, Source: "api"}
	for _, ip := range s.Spec.ClusterIPs {
		f.Addrs = appendAddr(f.Addrs, ip) // not "None"
	}
	for _, p := range s.Spec.Ports {
		port := event.ServicePort{Name: p.Name, Proto: strings.ToLower(string(p.Protocol)), Port: uint16(p.Port),
			TargetPort: p.TargetPort.String(), Known: c.slices[name] != nil}
		port.Endpoints, port.Ending = c.endpoints(name, p)
		f.Ports = append(f.Ports, port)
	}
	return []event.Fact{{Service: &f}}
}

// endpoints are those of one port that are ready, and those that are ending but still serve.
func (c cluster) endpoints(service string, p core.ServicePort) (ready, ending []netip.AddrPort) {
	for _, key := range slices.Sorted(maps.Keys(c.slices[service])) {
		s := c.slices[service][key]
		i := slices.IndexFunc(s.Ports, func(sp discovery.EndpointPort) bool { return deref(sp.Name) == p.Name && sp.Port != nil })
		if i < 0 {
			continue
		}
		for _, e := range s.Endpoints {
			to := &ready
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				if e.Conditions.Serving == nil || !*e.Conditions.Serving {
					continue
				}
				to = &ending
			}
			for _, text := range e.Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					*to = append(*to, netip.AddrPortFrom(a, uint16(*s.Ports[i].Port)))
				}
			}
		}
	}
	return ready, ending
}

// targets returns what changed in the pods on other nodes that serve a service. Those on the host network have a node's
// address, which they share; so until the nodes are known, nothing is emitted.
func (c cluster) targets() []event.Fact {
	if len(c.nodes) == 0 {
		return nil
	}
	now := map[string]event.PodFact{}
	for _, of := range c.slices {
		for _, s := range of {
			for _, e := range s.Endpoints {
				if f, ok := c.target(e); ok {
					now[f.UID] = f
				}
			}
		}
	}
	var facts []event.Fact
	for uid, f := range c.remote {
		if _, still := now[uid]; !still {
			delete(c.remote, uid)
			facts = append(facts, event.Fact{Pod: &event.PodFact{UID: uid, Source: f.Source, Gone: true}})
		}
	}
	for uid, f := range now {
		if !slices.Equal(c.remote[uid].Addrs, f.Addrs) {
			c.remote[uid] = f
			facts = append(facts, event.Fact{Pod: &f})
		}
	}
	return facts
}

func (c cluster) target(e discovery.Endpoint) (event.PodFact, bool) {
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || deref(e.NodeName) == "" || deref(e.NodeName) == c.here {
		return event.PodFact{}, false
	}
	f := event.PodFact{UID: string(e.TargetRef.UID), Namespace: e.TargetRef.Namespace, Name: e.TargetRef.Name,
		Source: "api", Node: *e.NodeName}
	for _, text := range e.Addresses {
		f.Addrs = appendAddr(f.Addrs, text)
	}
	return f, !slices.ContainsFunc(f.Addrs, c.isNode)
}

func (c cluster) isNode(a netip.Addr) bool {
	for _, addrs := range c.nodes {
		if slices.Contains(addrs, a) {
			return true
		}
	}
	return false
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
