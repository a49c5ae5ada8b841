package diagnose

import (
	"net/netip"
	"time"

	"ktrace/decoder"
)

// Facts is what is known of the node, for the rules that share it. It must come before them.
type Facts struct {
	node       decoder.Node
	blames     map[decoder.Question]decoder.Blame
	routes     map[routeKey]decoder.Route
	sockets    map[decoder.Question]decoder.Socket
	sysctls    map[sysctlKey]string
	neighbours map[neighbourKey]decoder.Neighbour
	devices    map[deviceKey]decoder.Device
	conntrack  map[uint32]decoder.ConntrackStats
	risen      map[uint32]time.Time // when a reading of them last told of losses
	rules      map[rulesKey]decoder.ServiceRules
	services   map[serviceKey]decoder.ServiceFact
	resolvs    map[uint32]decoder.ResolvConf
	decisions  map[decision]decoder.Netfilter
	putOff     decoder.PutOffs
	before     consequences
}

type (
	routeKey struct {
		about   decoder.Question
		reverse bool
	}
	sysctlKey struct {
		netns uint32
		key   string
	}
	neighbourKey struct {
		netns uint32
		iface string
		addr  netip.Addr
	}
	deviceKey struct {
		netns uint32
		iface string
	}
	rulesKey struct {
		netns uint32
		proto string
		addr  netip.AddrPort
	}
	serviceKey struct {
		source, namespace, name, at string
		netns                       uint32
	}
)

// NewFacts returns one that knows nothing yet.
func NewFacts() *Facts {
	return &Facts{
		blames:     map[decoder.Question]decoder.Blame{},
		routes:     map[routeKey]decoder.Route{},
		sockets:    map[decoder.Question]decoder.Socket{},
		sysctls:    map[sysctlKey]string{},
		neighbours: map[neighbourKey]decoder.Neighbour{},
		devices:    map[deviceKey]decoder.Device{},
		conntrack:  map[uint32]decoder.ConntrackStats{},
		risen:      map[uint32]time.Time{},
		rules:      map[rulesKey]decoder.ServiceRules{},
		services:   map[serviceKey]decoder.ServiceFact{},
		resolvs:    map[uint32]decoder.ResolvConf{},
		decisions:  map[decision]decoder.Netfilter{},
		putOff:     decoder.PutOffs{},
		before:     newConsequences(),
	}
}

// Observe implements decoder.Rule; it finds nothing.
func (k *Facts) Observe(e decoder.Event) []decoder.Finding {
	if n, ok := e.Body.(decoder.Netfilter); ok {
		k.decided(e, n)
	}
	k.before.learn(e)
	f, ok := e.Body.(decoder.Fact)
	if !ok {
		return nil
	}
	switch {
	case f.Node != nil:
		k.node = *f.Node
	case f.PutOff != nil:
		k.putOff.Learn(f)
	case f.Blame != nil:
		k.blames[f.Blame.About] = *f.Blame
	case f.Route != nil:
		k.routes[routeKey{f.Route.About, f.Route.Reverse}] = *f.Route
	case f.Socket != nil:
		k.sockets[f.Socket.About] = *f.Socket
	case f.Sysctl != nil:
		k.sysctls[sysctlKey{f.Sysctl.Netns, f.Sysctl.Key}] = f.Sysctl.Value
	case f.Neighbour != nil:
		k.neighbours[neighbourKey{f.Neighbour.Netns, f.Neighbour.Iface, f.Neighbour.Addr}] = *f.Neighbour
	case f.Device != nil:
		k.devices[deviceKey{f.Device.Netns, f.Device.Name}] = *f.Device
	case f.Conntrack != nil:
		k.learnConntrack(e.Time, *f.Conntrack)
	case f.ServiceRules != nil:
		k.rules[rulesKey{f.ServiceRules.Netns, f.ServiceRules.Proto, f.ServiceRules.Addr}] = *f.ServiceRules
	case f.Service != nil:
		k.learnService(*f.Service)
	case f.Resolv != nil:
		k.resolvs[f.Resolv.Netns] = *f.Resolv
	}
	return nil
}

// Flush implements decoder.Rule.
func (k *Facts) Flush(time.Time, bool) []decoder.Finding { return nil }

func (k *Facts) learnService(s decoder.ServiceFact) {
	key := serviceKey{s.Source, s.Namespace, s.Name, s.CIDR.String(), s.Netns}
	if s.Gone {
		delete(k.services, key)
		return
	}
	k.services[key] = s
}

// learnConntrack keeps what rose with a drop until that is looked at: a reading a moment later finds that nothing rose.
func (k *Facts) learnConntrack(now time.Time, s decoder.ConntrackStats) {
	switch {
	case s.Rose.InsertFailed+s.Rose.Drop+s.Rose.Invalid > 0:
		k.risen[s.Netns] = now
	case now.Sub(k.risen[s.Netns]) < factsAtLast:
		s.Rose = k.conntrack[s.Netns].Rose
	}
	k.conntrack[s.Netns] = s
}

// sysctl returns the value of a setting in a namespace, "" if it is not known.
func (k *Facts) sysctl(netns uint32, key string) string { return k.sysctls[sysctlKey{netns, key}] }

// route returns the way that the kernel gives for a packet.
func (k *Facts) route(e decoder.Event, reverse bool) (decoder.Route, bool) {
	r, ok := k.routes[routeKey{decoder.Ask(e), reverse}]
	return r, ok
}
