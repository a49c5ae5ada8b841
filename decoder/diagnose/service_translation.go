// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/stage"
)

// Translations is the stage that adds to every flow to a service what it was translated to, and the rule for those
// that were not. It wants hops of at least the first packets of flows, and drops as stage.NewDrops completes them.
type Translations struct {
	state           *State
	pending         *pending
	misses          *pending
	hits            map[natFlow]bool
	startNetns      map[uint64]uint32 // journeys, and the namespace that they began in
	expectedReplies map[natFlow]expectedReply
	translated      map[uint64]bool // journeys
	backends        backends
	counts          map[event.NATCount]uint64
	only            event.Single
}

// natFlow is a flow as one end knows it.
type natFlow struct {
	proto string
	flow  packet.FlowTuple
}

// expectedReply is whose answers a flow's are, and where they are translated back: what arrives there was not yet.
type expectedReply struct {
	original packet.FlowTuple
	netns    uint32
}

// Bounds of what is remembered; when there is more, all is forgotten and learnt anew.
const (
	maxFlows    = 1 << 16
	maxJourneys = 1 << 14
	maxNATCount = 4096
)

// NewTranslations returns it; state must observe events before it.
func NewTranslations(state *State) *Translations {
	return &Translations{state: state, pending: newPending(), misses: newPending(), hits: map[natFlow]bool{}, startNetns: map[uint64]uint32{},
		expectedReplies: map[natFlow]expectedReply{}, translated: map[uint64]bool{}, backends: newBackends(), counts: map[event.NATCount]uint64{}}
}

// Stage returns the half that makes the events; the other half is the rule.
func (x *Translations) Stage() stage.Stage { return translationStage{x} }

type translationStage struct{ x *Translations }

// Observe implements stage.Stage.
func (s translationStage) Observe(e event.Event) []event.Event {
	out := s.x.only.Event(e)
	if e.Packet == nil || e.Packet.IsICMPError() {
		return out
	}
	switch b := e.Body.(type) {
	case event.Hop:
		if n, ok := s.x.hop(e, b.Conntrack); ok {
			e.Body = n
			return append(out, e)
		}
	case event.Drop:
		if b.Noise == "" {
			s.x.pending.add(e, b.Reason+" "+b.Location, b.Answer != nil)
		}
	}
	return out
}

// Flush implements stage.Stage: what was dropped for want of a translation is reported once the node was asked.
func (s translationStage) Flush(now time.Time, final bool) []event.Event {
	states := map[string]event.NATState{
		"service-stale-endpoint": event.NATStale, "conntrack-full": event.NATFull, "conntrack-insert-race": event.NATRace,
	}
	found := s.x.staleFlows(now, final)
	for _, h := range s.x.pending.expired(now, final, s.x.state.awaitsFacts) {
		d := h.event.Body.(event.Drop)
		f, ok := s.x.state.Proves(h.event, d)
		if state, of := states[f.ID]; ok && of {
			e := h.event
			n := s.x.translation(e, d.Conntrack, state)
			s.x.count(n, h.count)
			e.Body = n
			found = append(found, e)
		}
	}
	return found
}

// hop finds out what a packet at a device is to a service, if that is not known of its flow yet.
func (x *Translations) hop(e event.Event, c *event.Conntrack) (event.NAT, bool) {
	began := x.noteStart(e)
	flow := natFlow{e.Packet.Proto, e.Packet.Flow()}
	switch w, answers := x.expectedReplies[flow]; {
	case answers && e.Direction == event.In && w.netns != e.Netns && x.startNetnsOf(natFlow{flow.proto, w.original}) == e.Netns && !afterwards(e.Packet):
		c = &event.Conntrack{Original: w.original, Reply: flow.flow}
		return x.first(natFlow{"reply " + flow.proto, w.original}, e, c, event.NATReply)
	case c.DNAT():
		if len(x.expectedReplies) >= maxFlows {
			clear(x.expectedReplies)
		}
		if len(x.translated) >= maxJourneys {
			clear(x.translated)
		}
		x.translated[e.Journey] = e.Journey != 0
		x.expectedReplies[natFlow{flow.proto, c.Reply}] = expectedReply{c.Original, e.Netns}
		x.backends.check(x.state, e, c)
		return x.first(natFlow{flow.proto, c.Original}, e, c, event.NATHit)
	case e.Direction == event.Out && (began != e.Netns || x.state.translates(e.Netns)):
		if _, known := x.state.serviceTo(e); known && flow.flow.Dst.Port() != 0 && !x.hits[flow] && !x.state.isLocal(e.Netns, e.Packet.Dst) {
			return x.first(flow, e, c, event.NATMiss)
		}
	}
	return event.NAT{}, false
}

// afterwards reports whether a packet resets a connection that there was: conntrack may have ended its entry by then.
func afterwards(p *packet.Packet) bool {
	s, ok := p.Segment()
	return p.HasFlag('R') && (!p.HasFlag('.') || ok && s.Seq != 0)
}

// noteStart notes where a packet's way began, and returns it.
func (x *Translations) noteStart(e event.Event) uint32 {
	if len(x.startNetns) >= maxJourneys {
		clear(x.startNetns)
	}
	netns, known := x.startNetns[e.Journey]
	if !known {
		netns = e.Netns
		x.startNetns[e.Journey] = netns
		x.startNetns[x.flowKey(natFlow{e.Packet.Proto, e.Packet.Flow()})] = netns
	}
	return netns
}

// startNetnsOf is the namespace in which a flow's packets begin, 0 if that is not known.
func (x *Translations) startNetnsOf(f natFlow) uint32 { return x.startNetns[x.flowKey(f)] }

// flowKey makes a number of a flow, beside the journeys', which count nanoseconds: its highest bit is set.
func (x *Translations) flowKey(f natFlow) uint64 {
	var h uint64 = 14695981039346656037 // FNV-1a
	add := func(c byte) { h = (h ^ uint64(c)) * 1099511628211 }
	for i := range len(f.proto) {
		add(f.proto[i])
	}
	for _, end := range []netip.AddrPort{f.flow.Src, f.flow.Dst} {
		for _, c := range end.Addr().As16() {
			add(c)
		}
		add(byte(end.Port() >> 8))
		add(byte(end.Port()))
	}
	return h | 1<<63
}

// first counts a flow and returns its translation; ok is false if it was counted before.
func (x *Translations) first(f natFlow, e event.Event, c *event.Conntrack, state event.NATState) (n event.NAT, ok bool) {
	if x.hits[f] {
		return n, false
	}
	if len(x.hits) >= maxFlows {
		clear(x.hits)
	}
	x.hits[f] = true
	n = x.translation(e, c, state)
	x.count(n, 1)
	return n, true
}

func (x *Translations) count(n event.NAT, times uint64) {
	k := event.NATCount{Service: n.Service, Backend: n.Backend, State: n.State}
	if _, known := x.counts[k]; known || len(x.counts) < maxNATCount {
		x.counts[k] += times
	}
}

// translation is what is known of a flow.
func (x *Translations) translation(e event.Event, c *event.Conntrack, state event.NATState) event.NAT {
	n := event.NAT{Original: e.Packet.Flow(), State: state}
	if c != nil {
		n.Original, n.Reply = c.Original, c.Reply
		if state != event.NATMiss {
			n.Backend = c.Reply.Src
		}
	}
	n.Service = n.Original.Dst.String()
	if s, ok := x.state.ServiceAt(e.Netns, e.Packet.Proto, n.Original.Dst); ok && s.Name != "" {
		n.Service = fmt.Sprintf("%s/%s:%d", s.Namespace, s.Name, n.Original.Dst.Port())
	}
	return n
}

// Observe implements stage.Rule.
func (x *Translations) Observe(e event.Event) []event.Finding {
	if n, ok := e.Body.(event.NAT); ok && (n.State == event.NATMiss || n.State == event.NATReply) {
		x.misses.add(e, string(n.State), false)
	}
	return nil
}

// Flush implements stage.Rule.
func (x *Translations) Flush(now time.Time, final bool) []event.Finding {
	found := x.backends.found
	x.backends.found = nil
	for _, h := range x.misses.expired(now, final, x.state.mayBeAnswered) {
		n := h.event.Body.(event.NAT)
		f, ok := x.state.notUntranslated(h.event, n), true
		if n.State == event.NATMiss {
			f, ok = x.missed(h.event, n)
		}
		if ok {
			f = f.Of(h.event)
			f.Time, f.First, f.Last, f.Count = now, h.first, h.last, h.count
			f.Evidence = append([]string{fmt.Sprintf("%s %v%s", h.first.UTC().Format("15:04:05.000000"), h.event.Packet, event.At(h.event))}, f.Evidence...)
			found = append(found, f)
		}
	}
	return found
}

// missed concludes from a packet that left a namespace for a service's address, unless another on its way translated it.
func (x *Translations) missed(e event.Event, n event.NAT) (event.Finding, bool) {
	if x.translated[e.Journey] {
		return event.Finding{}, false
	}
	var c *event.Conntrack
	if n.Reply.Src.IsValid() {
		c = event.NewConntrack(n.Original, n.Reply)
	}
	return x.state.dnatMiss(e, c, untranslatedAt(e))
}

// Summarize implements event.Summarizer.
func (x *Translations) Summarize(s *event.Summary) {
	s.NAT = &event.NATSummary{}
	for k, n := range x.counts {
		k.Count = n
		s.NAT.Flows = append(s.NAT.Flows, k)
	}
	for _, t := range x.state.conntrack.All() {
		if t.Count > 0 {
			s.NAT.Tables = append(s.NAT.Tables, t)
		}
	}
	s.NAT.Sort()
}

// notUntranslated reports an answer that came to the client from the backend's own address.
func (st *State) notUntranslated(e event.Event, n event.NAT) event.Finding {
	service, _ := st.ServiceAt(e.Netns, e.Packet.Proto, n.Original.Dst)
	f := event.Finding{
		ID: "service-reply-not-untranslated", Confidence: event.Certain, Subject: n.Original.Dst.String(),
		Title: fmt.Sprintf("Answers of %s arrive from its backend %v untranslated, so %v discards them.",
			called(service, event.ServiceRules{}, n.Original.Dst), n.Backend, n.Original.Src.Addr()),
		Cause: "The answer did not pass the conntrack entry that translated the request: it took another path, or a bridge passed it on " +
			"without asking netfilter (net.bridge.bridge-nf-call-iptables=0).",
		Evidence: []string{fmt.Sprintf("from %v, expected from %v", n.Backend, n.Original.Dst)},
		Remedy: []event.Remedy{
			run("modprobe br_netfilter"),
			run("sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1"),
			run("ip route get %v from %v", n.Original.Src.Addr(), n.Backend.Addr()).Noting("on the backend's node: must lead through the node that translates"),
		},
	}
	for key, v := range st.sysctls.All() {
		if v == "0" && (key.key == "net.bridge.bridge-nf-call-iptables" || key.key == "net.bridge.bridge-nf-call-ip6tables") {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s = 0 in netns %d", key.key, key.netns))
			f.About.At(key.netns)
		}
	}
	slices.Sort(f.Evidence[1:])
	return f
}
