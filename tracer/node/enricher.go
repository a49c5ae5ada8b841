// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/stage"
)

// Enricher looks up on the node what explains an event, and emits it as facts before the event. A lookup that would take
// more than its share of time is deferred: its facts follow with a later event or tick, usually within half a second. It
// is a decoder.Enricher, comes after the one that names kernel symbols, and is not safe for concurrent use.
type Enricher struct {
	reader   *Reader
	rows     []row
	names    *stage.Names
	home     uint32
	asked    map[asked]time.Time
	pending  *bounded.Table[asked, deferred]
	over     []event.Fact              // about what had to be dropped of it
	seen     bounded.Map[uint32, bool] // namespaces whose counters were read before
	services map[serviceAddr]bool
	ranges   map[serviceRange]bool
	claimed  map[netip.Addr]bool // by pods' own files
	ruled    map[uint32]bool     // namespaces with rules for services
	backends backends
	emitted  map[serviceKey]event.ServiceFact
	tunnels  map[ownDevice]bool
	silent   map[uint32]bool // namespaces with a tunnel's device that is down
	own      map[ownKey]bool // whether an address is the namespace's, for a second
	free     time.Time       // before this no lookup is made
}

type serviceKey struct {
	netns                                 uint32
	source, system, namespace, name, cidr string
}

// serviceAddr is a service's address by the rules of a namespace; 0 is the API's, for all.
type serviceAddr struct {
	netns uint32
	addr  netip.Addr
}

// serviceRange is a range of services' addresses by the rules of a namespace.
type serviceRange struct {
	netns uint32
	cidr  netip.Prefix
}

// ownDevice is a device of a namespace.
type ownDevice struct{ netns, ifindex uint32 }

type ownKey struct {
	netns uint32
	addr  netip.Addr
}

type asked struct {
	fact  wanted
	about event.LookupKey
}

// deferred is a lookup that was put off.
type deferred struct {
	event event.Event // the newest that raised it
	since time.Time
	owed  bool // it was never answered, and PutOff was emitted for it: rules wait
}

const (
	againAfter = 500 * time.Millisecond // before the same lookup is made again
	share      = 3                      // lookups take at most 1/share of wall time
	pollFor    = 250 * time.Millisecond // once a second, for deferred lookups, whatever their share
	maxPolled  = 256                    // namespaces whose counters are read every second
	pollAfter  = 10 * time.Second       // without an event to explain, before a namespace is no longer read every second
	maxAsked   = 8192                   // lookups remembered
	maxPending = 1024                   // lookups deferred
	quietFor   = 2 * time.Second        // without drops, before counters are compared with newer ones
)

// NewEnricher returns an Enricher that looks up by the Reader.
func NewEnricher(o *Reader) *Enricher {
	w := &Enricher{reader: o, rows: table(), names: stage.NewNames(), asked: map[asked]time.Time{},
		services: map[serviceAddr]bool{}, ranges: map[serviceRange]bool{}, claimed: map[netip.Addr]bool{}, ruled: map[uint32]bool{}, emitted: map[serviceKey]event.ServiceFact{}, own: map[ownKey]bool{},
		silent: map[uint32]bool{}, tunnels: map[ownDevice]bool{}}
	w.pending = bounded.NewTableEvict(maxPending, func(k asked, l deferred) {
		if l.owed && !w.owes(k.about) { // no rule need wait for it
			w.over = append(w.over, event.Fact{Deferred: &event.Deferred{About: k.about, Over: true}})
		}
	})
	return w
}

// Summarize implements event.Summarizer.
func (w *Enricher) Summarize(s *event.Summary) {
	s.AddEvicted("lookups on the node", w.pending.Evicted())
	s.AddEvicted("states of namespaces", w.reader.out)
}

// Close drops deferred lookups. No namespace is held open between two lookups.
func (w *Enricher) Close() error {
	w.pending.DeleteFunc(func(asked) bool { return true })
	return nil
}

// Begin reads rule counters and services of every network namespace before the first event, and the sysctls of home, the
// node's own.
func (w *Enricher) Begin(home uint32) []event.Fact {
	w.home = home
	facts := w.baseline(home)
	for _, inode := range w.reader.all() {
		facts = append(facts, w.baseline(inode)...)
	}
	return append(facts, w.reader.Sysctls(home, 0)...)
}

// baseline reads counters and services of a namespace for the first time.
func (w *Enricher) baseline(inode uint32) []event.Fact {
	if _, seen := w.seen.Get(inode); inode == 0 || seen {
		return nil
	}
	w.seen.Put(inode, true)
	facts := w.reader.Baseline(inode)
	if f, ok := w.reader.finder.Identity(inode); ok { // before what is known of it
		facts = append([]event.Fact{f}, facts...)
	}
	if w.reader.states[inode] == nil { // it cannot be entered: facts says so
		return facts
	}
	return append(facts, w.newServices(inode)...)
}

// newServices returns the services that changed since they were last emitted.
func (w *Enricher) newServices(inode uint32) []event.Fact {
	var facts []event.Fact
	gone := map[serviceKey]event.ServiceFact{}
	for k, s := range w.emitted {
		if k.netns == inode {
			gone[k] = s
		}
	}
	for _, f := range w.reader.Services(inode) {
		if f.Service == nil {
			return []event.Fact{f} // the lookup failed
		}
		k := serviceKey{inode, f.Service.Source, f.Service.System, f.Service.Namespace, f.Service.Name, f.Service.CIDR.String()}
		delete(gone, k)
		if old, ok := w.emitted[k]; ok && reflect.DeepEqual(old, *f.Service) {
			continue
		}
		w.emitted[k] = *f.Service
		facts = append(facts, f)
	}
	return w.learnServices(append(facts, w.withdraw(gone)...))
}

// withdraw returns the facts that services are gone.
func (w *Enricher) withdraw(gone map[serviceKey]event.ServiceFact) []event.Fact {
	var facts []event.Fact
	for k, s := range gone {
		delete(w.emitted, k)
		s.Gone = true
		facts = append(facts, event.Fact{Service: &s})
	}
	return facts
}

// learnServices takes in what is new of services, and returns it.
func (w *Enricher) learnServices(facts []event.Fact) []event.Fact {
	for _, f := range facts {
		w.learn(f)
	}
	if len(facts) > 0 {
		w.backends.learn(w.emitted)
	}
	return facts
}

// Enrich implements decoder.Enricher.
func (w *Enricher) Enrich(e event.Event) []event.Fact {
	if e.Body.Kind() != event.KindHop { // hops are the most, and have no kernel symbols
		e = w.names.Observe(e)[0]
	}
	if f, ok := e.Body.(event.Fact); ok {
		w.reader.finder.Learn(f)
		if inode, replaced := f.ReplacedNetns(); replaced {
			return w.forget(inode)
		}
		w.learn(f)
		if f == (event.Fact{}) { // a tick
			return w.askDeferred()
		}
		return nil
	}
	facts := w.baseline(e.Netns)
	i := slices.IndexFunc(w.rows, func(r row) bool { return r.kind == e.Body.Kind() && r.when(w, e) })
	if i < 0 {
		return facts
	}
	if s := w.reader.states[e.Netns]; s != nil {
		s.troubled = time.Now()
	}
	if w.rows[i].dropped {
		w.reader.Dropped(e)
	}
	return append(facts, w.askAll(w.rows[i].facts, e)...)
}

func (w *Enricher) learn(f event.Fact) {
	if f.Device != nil && f.Device.Tunnels() && len(w.tunnels) < maxAsked {
		w.tunnels[ownDevice{f.Device.Netns, f.Device.Ifindex}] = true
	}
	switch {
	case f.Node != nil:
		w.home = f.Node.Netns
	case f.Device != nil && f.Device.Down && f.Device.Tunnels() && len(w.silent) < maxNetns:
		w.silent[f.Device.Netns] = true
	case f.Service != nil:
		w.learnService(*f.Service)
	}
}

// learnService keeps the addresses of a service. What a pod's own files claim takes nothing away from what others list.
func (w *Enricher) learnService(f event.ServiceFact) {
	claims := f.Source == "resolv" || f.Source == "env"
	if claims && len(w.claimed) > maxAsked {
		clear(w.claimed)
	}
	for _, a := range slices.Concat(f.Addrs, f.External) {
		switch {
		case claims && !f.Gone:
			w.claimed[a] = true
		case claims:
		case f.Gone:
			delete(w.services, serviceAddr{f.Netns, a})
		default:
			w.services[serviceAddr{f.Netns, a}] = true
		}
	}
	if f.Netns != 0 && f.System != "" && len(w.ruled) < maxNetns {
		w.ruled[f.Netns] = true
	}
	if f.CIDR.IsValid() && !claims && len(w.ranges) < maxAsked {
		w.ranges[serviceRange{f.Netns, f.CIDR}] = true
	}
}

// isService reports whether an address is known to be a service's in a namespace: by its own rules, the node's, the API, or
// the file of a pod.
func (w *Enricher) isService(netns uint32, a netip.Addr) bool {
	if w.claimed[a] {
		return true
	}
	for _, by := range [...]uint32{0, w.home, netns} {
		if w.services[serviceAddr{by, a}] {
			return true
		}
	}
	for r := range w.ranges {
		if (r.netns == 0 || r.netns == w.home || r.netns == netns) && r.cidr.Contains(a) {
			return true
		}
	}
	return false
}

// askAll makes the lookups that were not made within againAfter, and defers the others: where drops go on or have ended,
// the last answer covers all of them.
func (w *Enricher) askAll(wants []wanted, e event.Event) []event.Fact {
	begin := time.Now()
	var facts []event.Fact
	var did bool
	for _, fact := range wants {
		k := asked{fact: fact, about: event.KeyOf(e)}
		if last, ok := w.asked[k]; begin.Before(w.free) || (ok && begin.Sub(last) < againAfter) {
			facts = append(facts, w.deferLookup(k, e)...)
			continue
		}
		facts, did = append(facts, w.ask(k, e)...), true
	}
	if did {
		w.rest(begin)
	}
	return facts
}

func (w *Enricher) ask(k asked, e event.Event) []event.Fact {
	if len(w.asked) >= maxAsked {
		clear(w.asked)
	}
	l, _ := w.pending.Get(k)
	owed := l.owed
	w.pending.Delete(k)
	w.asked[k] = time.Now()
	facts := k.fact.ask(w, e)
	if owed && !w.owes(k.about) {
		facts = append(facts, event.Fact{Deferred: &event.Deferred{About: k.about, Over: true}})
	}
	return facts
}

// owes reports whether a lookup about a packet was deferred that was never answered.
func (w *Enricher) owes(about event.LookupKey) bool {
	for k, l := range w.pending.All() {
		if l.owed && k.about == about {
			return true
		}
	}
	return false
}

// rest keeps lookups within their share of time.
func (w *Enricher) rest(begin time.Time) {
	took := time.Since(begin)
	w.free = begin.Add(took * share)
}

// deferLookup keeps the newest event of a lookup for when there is time, and emits PutOff if it was never answered.
func (w *Enricher) deferLookup(k asked, e event.Event) []event.Fact {
	old, known := w.pending.Get(k)
	_, answered := w.asked[k]
	first := !known && !answered && !w.owes(k.about)
	if !known {
		old.since = time.Now()
	}
	var facts []event.Fact
	if first {
		facts = append(facts, event.Fact{Deferred: &event.Deferred{About: k.about}})
	}
	w.pending.Put(k.about.Owner(), k, deferred{e, old.since, old.owed || !answered}, 1)
	facts, w.over = append(facts, w.over...), w.over[:0]
	return facts
}

// openQuestions are the deferred lookups: first those that rules wait for; of these the senders' packets by turns, so that nobody
// waits for all of another's; and of a packet first which rule dropped it.
func (w *Enricher) openQuestions() []asked {
	all := maps.Collect(w.pending.All())
	oldest := slices.SortedFunc(maps.Keys(all), func(a, b asked) int { return all[a].since.Compare(all[b].since) })
	turn, next := map[event.LookupKey]int{}, map[bounded.Owner]int{}
	for _, k := range oldest {
		if _, has := turn[k.about]; !has {
			turn[k.about] = next[k.about.Owner()]
			next[k.about.Owner()]++
		}
	}
	slices.SortStableFunc(oldest, func(a, b asked) int {
		if x, y := all[a].owed, all[b].owed; x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(turn[a.about], turn[b.about]), cmp.Compare(a.fact, b.fact))
	})
	return oldest
}

// askDeferred makes deferred lookups while there is time.
func (w *Enricher) askDeferred() []event.Fact {
	if time.Now().Before(w.free) {
		return nil
	}
	var facts []event.Fact
	for _, k := range w.openQuestions() {
		begin := time.Now()
		if begin.Before(w.free) {
			break
		}
		if begin.Sub(w.asked[k]) >= againAfter {
			l, _ := w.pending.Get(k)
			facts = append(facts, w.ask(k, l.event)...)
			w.rest(begin)
		}
	}
	return facts
}

// Poll makes deferred lookups, and returns counters of losses that rose without an event. Call it every second and at the
// end.
func (w *Enricher) Poll() []event.Fact {
	var facts []event.Fact
	begin := time.Now()
	for _, k := range w.openQuestions() {
		if time.Since(begin) > pollFor {
			break
		}
		l, _ := w.pending.Get(k)
		facts = append(facts, w.ask(k, l.event)...)
	}
	clear(w.own)
	facts = append(facts, w.changes()...)
	w.reader.finder.Once(func() {
		for inode, s := range w.reader.states {
			if inode == w.home || time.Since(s.troubled) < pollAfter {
				facts = append(facts, w.poll(inode, s)...)
			} else if len(w.reader.states) <= maxPolled {
				facts = append(facts, w.lost(inode)...)
			}
		}
	})
	return facts
}

// lost returns the protocols' counters if connections or packets were lost, some of which have no event.
func (w *Enricher) lost(inode uint32) []event.Fact {
	facts := w.reader.Netstat(inode)
	n := facts[0].Netstat
	if n == nil {
		return nil // the namespace is being removed
	}
	for _, name := range []string{"TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPReqQFullDrop", "UdpRcvbufErrors", "Udp6RcvbufErrors"} {
		if n.Rose[name] > 0 {
			return facts
		}
	}
	return nil
}

func (w *Enricher) poll(inode uint32, s *netnsState) []event.Fact {
	var facts []event.Fact
	for _, f := range w.reader.Conntrack(inode) {
		if f.Conntrack == nil || lossy(f.Conntrack.Rose) || inode == w.home {
			facts = append(facts, f)
		}
	}
	facts = append(facts, w.lost(inode)...)
	if !s.last.IsZero() && time.Since(s.last) > quietFor && w.pending.Len() == 0 {
		s.last = time.Time{}
		if err := s.rebase(); err != nil {
			facts = append(facts, unread(inode, "rules", err)...)
		}
	}
	return facts
}

// wanted is a lookup that an event may need.
type wanted uint8

const (
	dropRules wanted = iota
	serviceRules
	conntrackCounters
	settings
	routes
	nextHop
	protocolCounters
	receiver
	trackedFlow
	cameFrom
	leadsTo
	waiting
	programs
	cgroupPrograms
	sourcePorts
	tracking
	listener
	translation
)

func (f wanted) ask(w *Enricher, e event.Event) []event.Fact {
	about := event.KeyOf(e)
	switch f {
	case dropRules:
		return w.reader.DropRules(e)
	case serviceRules:
		// A changed service is a likely cause.
		return append(w.reader.ServiceRules(e), w.newServices(e.Netns)...)
	case conntrackCounters:
		return w.reader.Conntrack(e.Netns)
	case settings:
		return w.reader.Sysctls(e.Netns, e.Ifindex)
	case routes:
		return w.reader.Routes(about, w.cameInBy(e))
	case nextHop:
		return w.reader.Neighbour(about, e.Ifindex)
	case protocolCounters:
		return w.reader.Netstat(e.Netns)
	case receiver:
		return w.reader.Socket(about, e.Packet.Destination())
	case trackedFlow:
		return w.tracked(e)
	case tracking:
		return w.reader.Tracking(e)
	case sourcePorts:
		return w.reader.SourcePorts(e)
	case translation:
		return w.translation(e)
	case cameFrom:
		return w.atFarEnd(e, false)
	case leadsTo:
		return w.atFarEnd(e, true)
	case listener:
		if w.isOwn(e.Netns, e.Packet.Dst) {
			return w.reader.Socket(about, e.Packet.Destination())
		}
	case waiting:
		return w.reader.Qdiscs(e.Netns, e.Ifindex)
	case programs:
		return w.reader.Programs(e.Netns, e.Ifindex)
	case cgroupPrograms:
		return w.reader.CgroupPrograms(e.Netns, e.Cgroup)
	}
	return nil
}

// maxTracking is in how many namespaces a flow is looked for.
const maxTracking = 8

// tracked looks for the flow where it was translated, usually not in the receiver's namespace. After DNAT conntrack has it
// as the reply tuple.
func (w *Enricher) tracked(e event.Event) []event.Fact {
	answer := packet.FlowTuple{Src: e.Packet.Destination(), Dst: e.Packet.Source()}
	var none []event.Fact
	left := maxTracking
	for inode, s := range w.reader.states {
		if s.conntrack == nil || s.conntrack.Count == 0 || left == 0 {
			continue
		}
		left--
		facts := w.reader.Tracked(inode, e.Packet.Proto, answer)
		if facts[0].Tracked != nil && facts[0].Tracked.Found {
			return facts
		}
		none = facts
	}
	return none
}

// cameInBy is the device by which a packet came in; 0 if it was sent from this namespace.
func (w *Enricher) cameInBy(e event.Event) uint32 {
	if e.Direction == event.Out || w.isOwn(e.Netns, e.Packet.Src) {
		return 0
	}
	return e.Ifindex
}

// isOwn reports whether an address is local to the namespace; false if the lookup fails.
func (w *Enricher) isOwn(inode uint32, a netip.Addr) bool {
	k := ownKey{inode, a}
	is, ok := w.own[k]
	if ok {
		return is
	}
	if s, err := w.reader.state(inode); err == nil {
		err = s.Do(func() error {
			is, err = local(a.Unmap())
			return err
		})
		is = is && err == nil
	}
	if len(w.own) < maxAsked {
		w.own[k] = is
	}
	return is
}

// row is which lookups an event needs.
type row struct {
	kind    event.Kind
	when    func(*Enricher, event.Event) bool
	dropped bool // by netfilter
	facts   []wanted
}

// table has a row for every kind of event that the node can explain; the first that matches counts.
func table() []row {
	return []row{
		{event.KindDrop, byNetfilter, true, []wanted{dropRules, conntrackCounters, settings, serviceRules, sourcePorts, tracking, listener}},
		{event.KindDrop, noNeighbour, false, []wanted{nextHop, leadsTo, serviceRules}},
		{event.KindDrop, noSocket, false, []wanted{receiver, trackedFlow}},
		{event.KindDrop, reason("SOCKET_RCVBUFF", "SOCKET_BACKLOG", "PROTO_MEM", "TCP_LISTEN_OVERFLOW"), false,
			[]wanted{receiver, protocolCounters, settings}},
		{event.KindDrop, notPassedOn, false, []wanted{routes, settings, cameFrom, serviceRules}},
		{event.KindDrop, atProgram, false, []wanted{programs}},
		{event.KindDrop, atCgroup, false, []wanted{cgroupPrograms}},
		{event.KindDrop, atQueue, false, []wanted{waiting}},
		{event.KindDrop, reason("IP_", "PKT_TOO_BIG", "NOT_SPECIFIED", event.ReasonNotReported), false, []wanted{routes, settings, serviceRules}},
		{event.KindDrop, outOfTunnel, false, []wanted{routes}},
		{event.KindHop, notUnpacked, false, []wanted{receiver}},
		{event.KindHop, untranslated, false, []wanted{serviceRules, settings, routes}},
		{event.KindHop, misdirected, false, []wanted{translation}},
		{event.KindSock, sock(event.SockSynLost, event.SockBufferFull, event.SockSynackRetransmit), false,
			[]wanted{receiver, protocolCounters, settings}},
		{event.KindSock, sock(event.SockRetransmit), false, []wanted{settings}},
		{event.KindSock, sock(event.SockError), false, []wanted{routes, settings}},
		{event.KindSock, sock(event.SockNoRoute), false, []wanted{routes, cameFrom}},
		{event.KindSock, sock(event.SockResetSent), false, []wanted{trackedFlow}},
		{event.KindFlow, noPort, false, []wanted{settings}},
	}
}

// noPort reports whether no local port was free for a connection.
func noPort(_ *Enricher, e event.Event) bool { return e.Body.(event.Flow).NoPort(e.Packet) }

// byNetfilter reports whether rules or conntrack dropped the packet.
func byNetfilter(_ *Enricher, e event.Event) bool {
	return e.Packet != nil && e.Body.(event.Drop).ByNetfilter()
}

// noNeighbour reports whether the next host did not answer with its link address.
func noNeighbour(_ *Enricher, e event.Event) bool {
	return e.Packet != nil && !e.Packet.Dst.IsMulticast() && e.Body.(event.Drop).NoNeighbour()
}

// notPassedOn reports whether the packet was to be forwarded and was not. ip6_forward gives a reason only on newer kernels.
func notPassedOn(_ *Enricher, e event.Event) bool {
	d := e.Body.(event.Drop)
	return e.Packet != nil && !e.Packet.Dst.IsMulticast() && !d.MadeUp() && (d.NoWay() || d.Location == "ip6_forward" && d.Unexplained())
}

// atProgram reports whether a BPF program or TC filter of a device dropped the packet.
func atProgram(w *Enricher, e event.Event) bool {
	return e.Ifindex != 0 && e.Packet != nil && (reason("TC_")(w, e) || e.Body.(event.Drop).ByXDP())
}

// atCgroup reports whether a BPF program of the socket's cgroup may have dropped the packet.
func atCgroup(_ *Enricher, e event.Event) bool {
	return e.Cgroup != 0 && e.Packet != nil && e.Body.(event.Drop).ByCgroup() != ""
}

// atQueue reports whether a device's qdisc dropped the packet.
func atQueue(w *Enricher, e event.Event) bool {
	d := e.Body.(event.Drop)
	return e.Ifindex != 0 && (reason("QDISC_", "CAKE_", "FQ_", "DUALPI2_")(w, e) || d.Unexplained() && strings.HasPrefix(d.Location, "kfree_skb_list"))
}

// noSocket reports whether no socket has the packet's port.
func noSocket(_ *Enricher, e event.Event) bool {
	return e.Packet != nil && !e.Packet.Dst.IsMulticast() && e.Body.(event.Drop).NoSocket()
}

// reason matches drops by the prefixes of their reasons. Multicast is left out: most receivers drop it.
func reason(prefixes ...string) func(*Enricher, event.Event) bool {
	return func(_ *Enricher, e event.Event) bool {
		d := e.Body.(event.Drop)
		return e.Packet != nil && !e.Packet.Dst.IsMulticast() && !d.MadeUp() && slices.ContainsFunc(prefixes, func(p string) bool {
			return strings.HasPrefix(d.Reason, p)
		})
	}
}

func sock(ops ...event.SockOp) func(*Enricher, event.Event) bool {
	return func(_ *Enricher, e event.Event) bool {
		return e.Packet != nil && slices.Contains(ops, e.Body.(event.Sock).Op)
	}
}

// untranslated reports whether a packet leaves a device of the node with a service's address as its destination. In the
// sender's own namespace that is no fault, unless that namespace is the one with the DNAT rules.
func untranslated(w *Enricher, e event.Event) bool {
	h := e.Body.(event.Hop)
	return e.Packet != nil && e.Direction == event.Out && !h.Conntrack.DNAT() && w.isService(e.Netns, e.Packet.Dst) &&
		(e.Netns == w.home || w.ruled[e.Netns] || !w.isOwn(e.Netns, e.Packet.Src))
}

// notUnpacked reports whether a tunnel's packet arrives where its device is down: another socket may have the port.
func notUnpacked(w *Enricher, e event.Event) bool {
	return e.Packet != nil && e.Packet.Tunnel != nil && e.Direction == event.In && w.silent[e.Netns] && w.isOwn(e.Netns, e.Packet.Dst)
}

// outOfTunnel reports whether the packet was dropped at a tunnel's device.
func outOfTunnel(w *Enricher, e event.Event) bool {
	return e.Packet != nil && !e.Packet.Dst.IsMulticast() && w.tunnels[ownDevice{e.Netns, e.Ifindex}]
}

// lossy reports whether a counter of lost packets rose.
func lossy(c event.ConntrackCounters) bool {
	return c.InsertFailed+c.Drop+c.EarlyDrop+c.Invalid+c.ChainTooLong > 0
}
