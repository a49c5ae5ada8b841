package diagnose

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// services are what sources tell of them. Packets ask by their address, and a cluster has thousands.
type services struct {
	facts    map[serviceKey]event.ServiceFact
	podFacts int // facts of them that are a pod's own
	at       map[netip.Addr][]serviceKey
	ranges   []serviceKey // of addresses
	spans    map[spanKey]*serviceSpan
	removed  bounded.Map[servedBackend, time.Time] // endpoints that a source listed, until then
	changes  int                                   // how often it learnt what it did not know
}

// maxPodFacts is how many services are known from what pods say.
const maxPodFacts = 1 << 14

// serviceKey is one service, or a range of their addresses, as one source knows it.
type serviceKey struct {
	source, system, namespace, name, cidr string
	netns                                 uint32
}

func newServices() services {
	return services{facts: map[serviceKey]event.ServiceFact{}, at: map[netip.Addr][]serviceKey{}, spans: map[spanKey]*serviceSpan{}}
}

// servedBackend is a service's address and port, and who serves there.
type servedBackend struct {
	proto       string
	to, backend netip.AddrPort
}

// learn takes in what replaces the same source's earlier fact.
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
	if fromPod(f) {
		s.makeRoom()
	}
	s.facts[key] = f
	for _, a := range addressesOf(f) {
		s.at[a] = append(s.at[a], key)
	}
	if !fromPod(f) {
		for _, a := range f.Addrs {
			s.learnSpan(f.Netns, a)
		}
	}
	if f.CIDR.IsValid() {
		s.ranges = append(s.ranges, key)
	}
}

// remove takes out what was known of a source's service.
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
	delete(s.facts, key)
}

// makeRoom makes room for what a pod's own files say: pods come and go, and do not say that they have gone.
func (s *services) makeRoom() {
	if s.podFacts >= maxPodFacts {
		ofPod := func(k serviceKey) bool { return fromPod(s.facts[k]) }
		for a, keys := range s.at {
			if s.at[a] = slices.DeleteFunc(keys, ofPod); len(s.at[a]) == 0 {
				delete(s.at, a)
			}
		}
		maps.DeleteFunc(s.facts, func(k serviceKey, _ event.ServiceFact) bool { return ofPod(k) })
		s.podFacts = 0
	}
	s.podFacts++
}

// noteRemoved notes the endpoints that a service had and has no more.
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

// portOf is a port of a service.
func portOf(f event.ServiceFact, proto string, port uint16) (event.ServicePort, bool) {
	i := slices.IndexFunc(f.Ports, func(p event.ServicePort) bool { return p.Proto == proto && p.Port == port })
	if i < 0 {
		return event.ServicePort{}, false
	}
	return f.Ports[i], true
}

// addressesOf are all addresses that packets to a service may have.
func addressesOf(f event.ServiceFact) []netip.Addr { return slices.Concat(f.Addrs, f.External) }

// of returns what is told of an address: those that have it, and the ranges that it lies in.
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
