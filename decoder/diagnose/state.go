package diagnose

import (
	"net/netip"
	"time"

	"ktrace/decoder"
)

// Facts is what is known of the node, for the rules that share it. It must come before them. What it learns of one
// question or namespace is forgotten once it has learnt so much of others that no rule can still ask for it.
type Facts struct {
	node       decoder.Node
	blames     decoder.Recent[decoder.Question, decoder.Blame]
	routes     decoder.Recent[routeKey, decoder.Route]
	sockets    decoder.Recent[decoder.Question, decoder.Socket]
	sysctls    decoder.Recent[sysctlKey, string]
	neighbours decoder.Recent[neighbourKey, decoder.Neighbour]
	devices    decoder.Recent[deviceKey, decoder.Device]
	down       decoder.Recent[deviceKey, bool] // tunnels' devices that are
	conntrack  decoder.Recent[uint32, decoder.ConntrackStats]
	tracking   decoder.Recent[decoder.Question, decoder.Tracking]
	ports      decoder.Recent[decoder.Question, decoder.PortUse]
	risen      decoder.Recent[uint32, time.Time] // when a reading of them last told of losses
	rules      decoder.Recent[rulesKey, decoder.ServiceRules]
	services   services
	// translators are the namespaces that have, or had, rules for services.
	translators map[uint32]bool
	resolvs     decoder.Recent[uint32, decoder.ResolvConf]
	decisions   map[decision]decoder.Netfilter
	putOff      decoder.PutOffs
	before      consequences
	meanings    []meaning // of the kernel's reasons to drop
	losses      lossCounts
	queues      queues
	pinged      pings
	scans       scans
	culprits    culprits // rules that dropped
	programs    decoder.Recent[programKey, decoder.Program]
	judges      decoder.Recent[uint32, string]    // by namespace: whose program judges packets there
	began       decoder.Recent[string, time.Time] // pods, by UID, that did so meanwhile
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

// NewFacts returns one that knows nothing yet.
func NewFacts() *Facts {
	return &Facts{
		services:    newServices(),
		translators: map[uint32]bool{},
		decisions:   map[decision]decoder.Netfilter{},
		putOff:      decoder.PutOffs{},
		meanings:    meanings(),
		pinged:      pings{},
		scans:       scans{},
	}
}

// Observe implements decoder.Rule; it finds nothing.
func (k *Facts) Observe(e decoder.Event) []decoder.Finding {
	if n, ok := e.Body.(decoder.Netfilter); ok {
		k.decided(e, n)
	}
	k.before.learn(e)
	k.losses.learn(e)
	k.pinged.learn(e)
	k.scans.learn(e)
	f, ok := e.Body.(decoder.Fact)
	if !ok {
		return nil
	}
	switch {
	case f.Node != nil:
		k.node = *f.Node
	case f.Pod != nil:
		k.learnPod(*f.Pod)
	case f.PutOff != nil:
		k.putOff.Learn(f)
	case f.Chain != nil:
		k.learnJudge(*f.Chain)
	case f.Blame != nil:
		k.blames.Put(f.Blame.About, *f.Blame)
	case f.Route != nil:
		k.routes.Put(routeKey{f.Route.About, f.Route.Reverse}, *f.Route)
	case f.Socket != nil:
		k.sockets.Put(f.Socket.About, *f.Socket)
	case f.Sysctl != nil:
		k.sysctls.Put(sysctlKey{f.Sysctl.Netns, f.Sysctl.Key}, f.Sysctl.Value)
	case f.Neighbour != nil:
		k.neighbours.Put(neighbourKey{f.Neighbour.Netns, f.Neighbour.Iface, f.Neighbour.Addr}, *f.Neighbour)
	case f.Qdisc != nil:
		k.queues.learn(*f.Qdisc)
	case f.Program != nil:
		k.programs.Put(programKey{f.Program.Netns, f.Program.Ifindex, f.Program.Cgroup, f.Program.At, f.Program.ID}, *f.Program)
	case f.Device != nil:
		k.learnDevice(*f.Device)
	case f.Tracking != nil:
		k.tracking.Put(f.Tracking.About, *f.Tracking)
	case f.PortUse != nil:
		k.ports.Put(f.PortUse.About, *f.PortUse)
	case f.Conntrack != nil:
		k.learnConntrack(e.Time, *f.Conntrack)
	case f.ServiceRules != nil:
		k.rules.Put(rulesKey{f.ServiceRules.Netns, f.ServiceRules.Proto, f.ServiceRules.Addr}, *f.ServiceRules)
		k.learnTranslator(f.ServiceRules.Netns, f.ServiceRules.State != decoder.ServiceNone)
	case f.Service != nil:
		k.services.learn(e.Time, *f.Service)
		k.learnTranslator(f.Service.Netns, fromRules(*f.Service))
	case f.Resolv != nil:
		k.resolvs.Put(f.Resolv.Netns, *f.Resolv)
	}
	return nil
}

// Flush implements decoder.Rule.
func (k *Facts) Flush(time.Time, bool) []decoder.Finding { return nil }

// maxTranslators is how many are remembered; a node has one, a machine of nodes that are namespaces some.
const maxTranslators = 1 << 12

func (k *Facts) learnTranslator(netns uint32, is bool) {
	if is && netns != 0 && len(k.translators) < maxTranslators {
		k.translators[netns] = true
	}
}

func (k *Facts) learnDevice(d decoder.Device) {
	key := deviceKey{d.Netns, d.Name}
	k.devices.Put(key, d)
	if d.Tunnels() && d.Down {
		k.down.Put(key, true)
	} else {
		k.down.Delete(key)
	}
}

// learnConntrack keeps what rose with a drop until that is looked at: a reading a moment later finds that nothing rose.
func (k *Facts) learnConntrack(now time.Time, s decoder.ConntrackStats) {
	before, _ := k.conntrack.Get(s.Netns)
	risen, _ := k.risen.Get(s.Netns)
	switch {
	case s.Rose.InsertFailed+s.Rose.Drop+s.Rose.Invalid > 0:
		k.risen.Put(s.Netns, now)
	case now.Sub(risen) < factsAtLast:
		s.Rose = before.Rose
	}
	k.conntrack.Put(s.Netns, s)
}

// sysctl returns the value of a setting in a namespace, "" if it is not known.
func (k *Facts) sysctl(netns uint32, key string) string {
	v, _ := k.sysctls.Get(sysctlKey{netns, key})
	return v
}

// route returns the way that the kernel gives for a packet.
func (k *Facts) route(e decoder.Event, reverse bool) (decoder.Route, bool) {
	return k.routes.Get(routeKey{decoder.Ask(e), reverse})
}
