// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
	"slices"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// serviceTrust orders sources of services, best first.
var serviceTrust = [...]string{"api", "nftables", "iptables", "ipvs", "resolv", "env"}

// serviceKey is one service as one source knows it.
type serviceKey struct {
	source, system, namespace, name string
	netns                           uint32
}

// services are the names of service addresses.
type services struct {
	facts  map[serviceKey]event.ServiceFact
	byAddr map[netip.Addr][]serviceKey
	size   int // bytes of facts
}

// Bounds of the services that are known. What more there are have no name.
const (
	maxServices = 16 << 20 // bytes
	maxSharing  = 1 << 12  // services, or sources of one, that an address may have
)

func newServices() services {
	return services{facts: map[serviceKey]event.ServiceFact{}, byAddr: map[netip.Addr][]serviceKey{}}
}

// learn takes in what replaces the same source's earlier fact.
func (s *services) learn(f event.ServiceFact) {
	if f.Name == "" {
		return // a range of addresses, or an address without a name
	}
	key := serviceKey{f.Source, f.System, f.Namespace, f.Name, f.Netns}
	for _, a := range addressesOf(s.facts[key]) {
		a = a.Unmap()
		s.byAddr[a] = slices.DeleteFunc(s.byAddr[a], func(k serviceKey) bool { return k == key })
		if len(s.byAddr[a]) == 0 {
			delete(s.byAddr, a)
		}
	}
	if known, ok := s.facts[key]; ok {
		s.size -= bounded.SizeOf(known)
		delete(s.facts, key)
	}
	size := bounded.SizeOf(f)
	shared := slices.ContainsFunc(addressesOf(f), func(a netip.Addr) bool { return len(s.byAddr[a.Unmap()]) >= maxSharing })
	if f.Gone || s.size+size > maxServices || shared {
		return
	}
	s.facts[key] = f
	s.size += size
	for _, a := range addressesOf(f) {
		s.byAddr[a.Unmap()] = append(s.byAddr[a.Unmap()], key)
	}
}

// addressesOf are all addresses that packets to a service may have.
func addressesOf(f event.ServiceFact) []netip.Addr { return slices.Concat(f.Addrs, f.External) }

// at returns the service that has an address, as the best source knows it. Of several, one with that port.
func (s *services) at(addr netip.Addr, proto string, port uint16) event.Pod {
	var best event.ServiceFact
	rank := func(f event.ServiceFact) (r int) {
		r = slices.Index(serviceTrust[:], f.Source)
		if !slices.ContainsFunc(f.Ports, func(p event.ServicePort) bool { return p.Proto == proto && p.Port == port }) {
			r += len(serviceTrust)
		}
		return r
	}
	for _, key := range s.byAddr[addr.Unmap()] {
		if f := s.facts[key]; best.Name == "" || rank(f) < rank(best) {
			best = f
		}
	}
	if best.Name == "" {
		return event.Pod{}
	}
	return event.Pod{Service: best.Namespace + "/" + best.Name, Source: best.Source}
}
