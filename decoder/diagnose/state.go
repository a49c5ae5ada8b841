// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// State is what is known of the node, shared by the rules. It must observe events before them. Facts about one lookup
// key or namespace are evicted by newer ones about others, when no rule can ask for them any more.
type State struct {
	rows          []Row // the table of findings
	node          event.Node
	dropRules     bounded.Weighed[event.LookupKey, event.DropRules]
	routes        bounded.Weighed[routeKey, event.Route]
	sockets       bounded.Weighed[event.LookupKey, event.Socket]
	sysctls       bounded.Weighed[sysctlKey, string]
	neighbours    bounded.Weighed[neighbourKey, event.Neighbour]
	devices       bounded.Weighed[deviceKey, event.Device]
	downTunnels   bounded.Map[deviceKey, bool] // tunnel devices that are down
	conntrack     bounded.Map[uint32, event.ConntrackStats]
	tracking      bounded.Weighed[event.LookupKey, event.Tracking]
	ports         bounded.Weighed[event.LookupKey, event.PortUse]
	conntrackRose bounded.Map[uint32, time.Time] // when a reading last found that losses rose
	rules         bounded.Weighed[rulesKey, event.ServiceRules]
	services      services
	senders       bounded.Map[uint64, uint32] // by journey: the namespace of a packet that is for whom its files name
	// serviceNetns are the namespaces that have, or had, rules for services.
	serviceNetns    map[uint32]bool
	resolvs         bounded.Weighed[uint32, event.ResolvConf]
	netfilterEvents *bounded.Table[netfilterKey, event.Netfilter]
	deferred        event.DeferredLookups
	effects         sideEffects
	meanings        []meaning // of the kernel's reasons to drop
	proofs          []proof   // that drops give, deepest cause first
	drops           dropCounts
	queues          queues
	uplinks         uplinks
	pings           pings
	scans           scans
	near            near
	deviceChanges   int           // how often devices changed
	droppingRules   droppingRules // rules that dropped
	programs        bounded.Weighed[programKey, event.Program]
	policyPlugins   bounded.Weighed[uint32, string] // by namespace: the network plugin whose program decides on packets there
	gaps            event.Gaps
	podStarts       bounded.Map[string, time.Time] // by UID, of pods that started during the run
}

type (
	routeKey struct {
		about   event.LookupKey
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
	programKey struct {
		netns, ifindex uint32
		cgroup         uint64
		at             string
		id             uint32
	}
	rulesKey struct {
		netns uint32
		proto string
		addr  netip.AddrPort
	}
)

// NewState returns an empty one.
func NewState() *State {
	rows := Rows()
	return &State{
		rows:            rows,
		services:        newServices(),
		serviceNetns:    map[uint32]bool{},
		netfilterEvents: bounded.NewTable[netfilterKey, event.Netfilter](maxNetfilterEvents),
		deferred:        event.DeferredLookups{},
		meanings:        meanings(),
		proofs:          proofs(rows),
		pings:           pings{},
		scans:           scans{},
	}
}

// Observe implements stage.Rule; it finds nothing.
func (st *State) Observe(e event.Event) []event.Finding {
	st.gaps.Learn(e)
	if n, ok := e.Body.(event.Netfilter); ok {
		st.learnNetfilter(e, n)
	}
	st.effects.learn(e)
	if h, ok := e.Body.(event.Hop); ok && e.Packet != nil {
		st.uplinks.learn(e, h)
	}
	st.drops.learn(e)
	st.pings.learn(e)
	st.scans.learn(e)
	f, ok := e.Body.(event.Fact)
	if !ok {
		st.learnSender(e)
		return nil
	}
	if inode, replaced := f.ReplacedNetns(); replaced {
		st.forgetNetns(inode)
	}
	switch {
	case f.Node != nil:
		st.node = *f.Node
	case f.Pod != nil:
		st.learnPod(*f.Pod)
	case f.Deferred != nil:
		st.deferred.Learn(f)
	case f.Chain != nil:
		st.learnPolicyPlugin(*f.Chain)
	case f.DropRules != nil:
		st.dropRules.Put(f.DropRules.About.Owner(), f.DropRules.About, *f.DropRules)
	case f.Route != nil:
		st.routes.Put(f.Route.About.Owner(), routeKey{f.Route.About, f.Route.Reverse}, *f.Route)
	case f.Socket != nil:
		st.sockets.Put(f.Socket.About.Owner(), f.Socket.About, *f.Socket)
	case f.Sysctl != nil:
		st.sysctls.Put(bounded.Owner{Netns: f.Sysctl.Netns}, sysctlKey{f.Sysctl.Netns, f.Sysctl.Key}, f.Sysctl.Value)
	case f.Neighbour != nil:
		st.neighbours.Put(bounded.Owner{Netns: f.Neighbour.Netns}, neighbourKey{f.Neighbour.Netns, f.Neighbour.Iface, f.Neighbour.Addr}, *f.Neighbour)
	case f.Qdisc != nil:
		st.queues.learn(*f.Qdisc)
	case f.Program != nil:
		st.programs.Put(bounded.Owner{Netns: f.Program.Netns}, programKey{f.Program.Netns, f.Program.Ifindex, f.Program.Cgroup, f.Program.At, f.Program.ID}, *f.Program)
	case f.Device != nil:
		st.learnDevice(*f.Device)
	case f.Tracking != nil:
		st.tracking.Put(f.Tracking.About.Owner(), f.Tracking.About, *f.Tracking)
	case f.PortUse != nil:
		st.ports.Put(f.PortUse.About.Owner(), f.PortUse.About, *f.PortUse)
	case f.Conntrack != nil:
		st.learnConntrack(e.Time, *f.Conntrack)
	case f.ServiceRules != nil:
		st.rules.Put(bounded.Owner{Netns: f.ServiceRules.Netns}, rulesKey{f.ServiceRules.Netns, f.ServiceRules.Proto, f.ServiceRules.Addr}, *f.ServiceRules)
		st.learnServiceNetns(f.ServiceRules.Netns, f.ServiceRules.State != event.ServiceNone)
	case f.Service != nil:
		st.services.learn(e.Time, *f.Service)
		st.learnServiceNetns(f.Service.Netns, fromRules(*f.Service))
	case f.Resolv != nil:
		st.resolvs.Put(bounded.Owner{Netns: f.Resolv.Netns}, f.Resolv.Netns, *f.Resolv)
	}
	return nil
}

// Flush implements stage.Rule.
func (st *State) Flush(time.Time, bool) []event.Finding { return nil }

// Summarize implements event.Summarizer.
func (st *State) Summarize(s *event.Summary) {
	s.AddEvicted("facts about services", st.services.leftOut)
}

// maxServiceNetns bounds serviceNetns. A node has one; a machine whose namespaces are nodes has some.
const maxServiceNetns = 1 << 12

func (st *State) learnServiceNetns(netns uint32, is bool) {
	if is && netns != 0 && len(st.serviceNetns) < maxServiceNetns {
		st.serviceNetns[netns] = true
	}
}

func (st *State) learnDevice(d event.Device) {
	key := deviceKey{d.Netns, d.Name}
	st.devices.Put(bounded.Owner{Netns: d.Netns}, key, d)
	st.deviceChanges++
	if d.Tunnels() && d.Down {
		st.downTunnels.Put(key, true)
	} else {
		st.downTunnels.Delete(key)
	}
}

// learnConntrack keeps counters that rose until a drop is concluded from: the next reading, a moment later, finds no
// rise.
func (st *State) learnConntrack(now time.Time, s event.ConntrackStats) {
	before, _ := st.conntrack.Get(s.Netns)
	risen, _ := st.conntrackRose.Get(s.Netns)
	switch {
	case s.Rose.InsertFailed+s.Rose.Drop+s.Rose.Invalid > 0:
		st.conntrackRose.Put(s.Netns, now)
	case now.Sub(risen) < factsDeadline:
		s.Rose = before.Rose
	}
	st.conntrack.Put(s.Netns, s)
}

// sysctl returns the value of a setting in a namespace, "" if it is not known.
func (st *State) sysctl(netns uint32, key string) string {
	v, _ := st.sysctls.Get(sysctlKey{netns, key})
	return v
}

// route returns the route that the kernel chooses for a packet.
func (st *State) route(e event.Event, reverse bool) (event.Route, bool) {
	return st.routes.Get(routeKey{event.KeyOf(e), reverse})
}
