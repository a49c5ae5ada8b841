// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// services are what sources list. They are looked up by address for each packet, and a cluster has thousands.
type services struct {
	facts    map[serviceKey]event.ServiceFact
	podFacts int // facts from pods' own files
	size     int // bytes of facts
	leftOut  uint64
	at       map[netip.Addr][]serviceKey
	ranges   []serviceKey // those that are a range of addresses
	spans    map[spanKey]*serviceSpan
	removed  bounded.Map[servedBackend, time.Time] // endpoints that a source no longer lists, and since when
	changes  int                                   // how often something changed
}

// Bounds of what is kept of services. What more there is is left out: to forget a service would make its address unknown.
const (
	maxPodFacts = 1 << 12  // from pods' own files
	maxServices = 24 << 20 // bytes: a service takes one or two thousand
	maxSharing  = 1 << 12  // services, or sources of one, that an address may have, and ranges
)

// serviceKey is one service, or one range of service addresses, of one source.
type serviceKey struct {
	source, system, namespace, name, cidr string
	netns                                 uint32
}

func newServices() services {
	return services{facts: map[serviceKey]event.ServiceFact{}, at: map[netip.Addr][]serviceKey{}, spans: map[spanKey]*serviceSpan{}}
}

// servedBackend is a service's address and port with one of its endpoints.
type servedBackend struct {
	proto       string
	to, backend netip.AddrPort
}

// learn replaces the source's earlier fact about the service.
func (s *services) learn(now time.Time, f event.ServiceFact) {
	key := serviceKey{f.Source, f.System, f.Namespace, f.Name, f.CIDR.String(), f.Netns}
	if f.Source == "env" && len(f.Addrs) > 0 {
		key.name = f.Addrs[0].String() // it has no name
	}
	s.changes++
	s.noteRemoved(now, s.facts[key], f)
	s.remove(key)
	if f.Gone {
		return
	}
	size := bounded.SizeOf(f)
	shared := !fromPod(f) && slices.ContainsFunc(addressesOf(f), func(a netip.Addr) bool { return len(s.at[a]) >= maxPodFacts+maxSharing })
	if s.size+size > maxServices || shared || f.CIDR.IsValid() && len(s.ranges) >= maxSharing {
		s.leftOut++
		return
	}
	if fromPod(f) {
		s.makeRoom()
	}
	s.facts[key] = f
	s.size += size
	for _, a := range addressesOf(f) {
		s.at[a] = append(s.at[a], key)
	}
	if !guessed(f) {
		for _, a := range f.Addrs {
			s.learnSpan(f.Netns, a)
		}
	}
	if f.CIDR.IsValid() {
		s.ranges = append(s.ranges, key)
	}
}

// remove deletes what a source listed of a service.
func (s *services) remove(key serviceKey) {
	same := func(k serviceKey) bool { return k == key }
	for _, a := range addressesOf(s.facts[key]) {
		if s.at[a] = slices.DeleteFunc(s.at[a], same); len(s.at[a]) == 0 {
			delete(s.at, a)
		}
	}
	s.ranges = slices.DeleteFunc(s.ranges, same)
	if fromPod(s.facts[key]) {
		s.podFacts--
	}
	if f, ok := s.facts[key]; ok {
		s.size -= bounded.SizeOf(f)
		delete(s.facts, key)
	}
}

// makeRoom evicts facts from pods' own files when there are too many: no event says that a pod, and its file, is gone.
func (s *services) makeRoom() {
	if s.podFacts >= maxPodFacts {
		ofPod := func(k serviceKey) bool { return fromPod(s.facts[k]) }
		for a, keys := range s.at {
			if s.at[a] = slices.DeleteFunc(keys, ofPod); len(s.at[a]) == 0 {
				delete(s.at, a)
			}
		}
		maps.DeleteFunc(s.facts, func(k serviceKey, f event.ServiceFact) bool {
			if ofPod(k) {
				s.size -= bounded.SizeOf(f)
				return true
			}
			return false
		})
		s.podFacts = 0
	}
	s.podFacts++
}

// noteRemoved keeps the endpoints that a service had and has no more.
func (s *services) noteRemoved(now time.Time, before, after event.ServiceFact) {
	for _, p := range before.Ports {
		var still []netip.AddrPort
		if q, ok := portOf(after, p.Proto, p.Port); ok && !after.Gone {
			still = q.Endpoints
		}
		for _, backend := range p.Endpoints {
			if slices.Contains(still, backend) {
				continue
			}
			for _, a := range addressesOf(before) {
				s.removed.Put(servedBackend{p.Proto, netip.AddrPortFrom(a, p.Port), backend}, now)
			}
		}
	}
}

// portOf returns a port of a service.
func portOf(f event.ServiceFact, proto string, port uint16) (event.ServicePort, bool) {
	i := slices.IndexFunc(f.Ports, func(p event.ServicePort) bool { return p.Proto == proto && p.Port == port })
	if i < 0 {
		return event.ServicePort{}, false
	}
	return f.Ports[i], true
}

// addressesOf returns every address that packets to a service may have.
func addressesOf(f event.ServiceFact) []netip.Addr { return slices.Concat(f.Addrs, f.External) }

// of returns the facts about an address: the services that have it, and the ranges that it is in.
func (s *services) of(a netip.Addr) []event.ServiceFact {
	var all []event.ServiceFact
	for _, key := range s.at[a] {
		all = append(all, s.facts[key])
	}
	for _, key := range s.ranges {
		if f := s.facts[key]; f.CIDR.Contains(a) && !slices.Contains(f.Addrs, a) {
			all = append(all, f)
		}
	}
	return all
}
