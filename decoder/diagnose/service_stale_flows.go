// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// backends compares whom flows to services are translated to with who serves them, whatever becomes of the packets. It is
// sure only once the node was asked for its rules after the packet, and if the backend had been none for a while: a flow
// that was made while its endpoint was there may end in peace.
type backends struct {
	checked  map[backendOf]int // flows, and how much was known of services when their backend was looked at
	answered map[backendOf]bool
	pending  *pending
	found    []event.Finding
}

// backendOf is a flow and its backend: a client that takes the same port again may get another.
type backendOf struct {
	natFlow
	backend netip.AddrPort
}

// staleAfter is how long an endpoint must have been none, so that what still goes there is no flow on its way to its end, nor
// kube-proxy about to forget it.
const staleAfter = 5 * time.Second

func newBackends() backends {
	return backends{checked: map[backendOf]int{}, answered: map[backendOf]bool{}, pending: newPending()}
}

// check takes in a packet of a translated flow.
func (b *backends) check(st *State, e event.Event, c *event.Conntrack) {
	flow, packet := backendOf{natFlow{e.Packet.Proto, c.Original}, c.Reply.Src}, e.Packet.Flow()
	if packet == c.Reply || packet == c.Original.Reverse() {
		if len(b.answered) >= maxFlows {
			clear(b.answered)
		}
		b.answered[flow] = b.answered[flow] || !e.Packet.HasFlag('R')
		return
	}
	if packet != c.Reply.Reverse() || b.checked[flow] == st.services.changes+1 || e.Packet.Proto == "tcp" && !begins(e.Packet) {
		return
	}
	if len(b.checked) >= maxFlows {
		clear(b.checked)
	}
	b.checked[flow] = st.services.changes + 1
	if st.isStale(e, c) || len(st.systemsOf(e, c)) > 1 {
		e.Body = event.NAT{Original: c.Original, Reply: c.Reply, Backend: c.Reply.Src, State: event.NATStale}
		b.pending.add(e, c.Reply.Src.String(), false)
	}
}

// begins reports whether a packet is the first of a TCP connection, or that again. One that goes on may go on to a pod that is
// ending.
func begins(p *packet.Packet) bool { return p.HasFlag('S') && !p.HasFlag('.') }

// isStale reports whether a flow's backend serves at the service's address by none of the sources that know it.
func (st *State) isStale(e event.Event, c *event.Conntrack) bool {
	to, backend, known := c.Original.Dst, c.Reply.Src, false
	for _, s := range st.services.of(to.Addr()) {
		p, ok := portOf(s, e.Packet.Proto, to.Port())
		switch {
		case !ok || !p.Known || !st.concerns(s, e.Netns):
		case slices.Contains(p.Endpoints, backend), slices.Contains(p.Ending, backend):
			return false
		case fromRules(s) && s.Netns != e.Netns: // of another cluster that has nodes on this machine, and uses the same addresses
		case len(p.Endpoints) > 0 || !fromRules(s): // rules that name none may not be understood
			known = true
		}
	}
	rules, _ := st.rules.Get(rulesKey{e.Netns, e.Packet.Proto, to})
	left, was := st.services.removed.Get(servedBackend{e.Packet.Proto, to, backend})
	return known && !slices.Contains(rules.Endpoints, backend) && (!was || e.Time.Sub(left) > staleAfter)
}

// systemsOf are the facts by which different systems of rules, iptables-legacy and nftables for two, translate packets to a
// service to different endpoints: more than one, or none.
func (st *State) systemsOf(e event.Event, c *event.Conntrack) []event.ServiceFact {
	rules, _ := st.rules.Get(rulesKey{e.Netns, e.Packet.Proto, c.Original.Dst})
	var all []event.ServiceFact
	differ := false
	for _, s := range st.services.of(c.Original.Dst.Addr()) {
		p, ok := portOf(s, e.Packet.Proto, c.Original.Dst.Port())
		if !ok || s.Netns != e.Netns || !fromRules(s) || len(p.Endpoints) == 0 || !reached(p, rules) {
			continue
		}
		for _, other := range all {
			q, _ := portOf(other, e.Packet.Proto, c.Original.Dst.Port())
			differ = differ || !sameEndpoints(p.Endpoints, q.Endpoints)
		}
		all = append(all, s)
	}
	if !differ {
		return nil
	}
	return all
}

// reached reports whether packets come to the rules that a port's endpoints are of; without having asked, they may.
func reached(p event.ServicePort, rules event.ServiceRules) bool {
	return len(rules.Endpoints) == 0 || slices.ContainsFunc(p.Endpoints, func(a netip.AddrPort) bool { return slices.Contains(rules.Endpoints, a) })
}

func sameEndpoints(a, b []netip.AddrPort) bool {
	has := func(all []netip.AddrPort) func(netip.AddrPort) bool {
		return func(e netip.AddrPort) bool { return !slices.Contains(all, e) }
	}
	return !slices.ContainsFunc(a, has(b)) && !slices.ContainsFunc(b, has(a))
}

// staleFlows are the events of flows that go to a backend which serves no more, and keeps the findings.
func (x *Translations) staleFlows(now time.Time, final bool) []event.Event {
	var stale []event.Event
	for _, h := range x.backends.pending.expired(now, final, x.state.awaitsFacts) {
		e, n := h.event, h.event.Body.(event.NAT)
		c := event.NewConntrack(n.Original, n.Reply)
		works := x.backends.answered[backendOf{natFlow{e.Packet.Proto, n.Original}, n.Backend}]
		if systems := x.state.systemsOf(e, c); len(systems) > 1 {
			x.backends.report(h, now, x.state.twoSystems(e, c, systems), works, event.Warning)
		} else if x.state.isStale(e, c) {
			// Datagrams that are answered go on as before; a new connection may be answered by another server than was meant.
			working := map[bool]event.Severity{true: event.Warning, false: event.Info}[e.Packet.Proto == "tcp"]
			f := x.state.stale(e, c)
			if works {
				f.Cause += " The host that has the address now gets the packets."
			}
			x.backends.report(h, now, f, works, working)
			e.Body = x.translation(e, c, event.NATStale)
			x.count(e.Body.(event.NAT), 1)
			stale = append(stale, e)
		}
	}
	return stale
}

// report completes a finding about a translation; working is how bad it is if the backend answers all the same.
func (b *backends) report(h *pendingDrop, now time.Time, f event.Finding, works bool, working event.Severity) {
	e := h.event
	f = f.Of(e)
	f.Time, f.First, f.Last, f.Count = now, h.first, h.last, h.count
	if works {
		f.Severity = working
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v answers", e.Packet.Destination()))
	}
	f.Evidence = append([]string{fmt.Sprintf("%s %v%s", h.first.UTC().Format("15:04:05.000000"), e.Packet, event.At(e))}, f.Evidence...)
	b.found = append(b.found, f)
}

// twoSystems is the finding about rules of two systems that translate one service differently.
func (st *State) twoSystems(e event.Event, c *event.Conntrack, systems []event.ServiceFact) event.Finding {
	to := c.Original.Dst
	var names, evidence []string
	for _, s := range systems {
		p, _ := portOf(s, e.Packet.Proto, to.Port())
		names = append(names, s.System)
		evidence = append(evidence, fmt.Sprintf("%s translates %v to %v", s.System, to, p.Endpoints))
	}
	slices.Sort(names)
	slices.Sort(evidence)
	f := event.Finding{
		ID: "service-stale-endpoint", Confidence: event.Certain, Subject: fmt.Sprintf("%v by %s", to, strings.Join(names, " and ")),
		Title: fmt.Sprintf("Packets to %s are translated by %s, each to other endpoints.", called(systems[0], event.ServiceRules{}, to), strings.Join(names, " and by ")),
		Cause: "kube-proxy changed its mode, or the tool that it writes rules with, and the old rules stayed: they are not kept up to date, and the first that match win.",
		Remedy: []event.Remedy{
			run("kube-proxy --cleanup").Noting("with the version and mode that wrote the old rules"),
			pipe(run(forFamily(to.Addr(), "iptables-legacy-save")), run("grep KUBE-")).In(st.enter(e.Netns)),
			pipe(run(forFamily(to.Addr(), "iptables-nft-save")), run("grep KUBE-")).In(st.enter(e.Netns)),
			run(forFamily(to.Addr(), "nft list table ip kube-proxy")).In(st.enter(e.Netns)),
		},
	}
	f.Evidence = append([]string{fmt.Sprintf("conntrack entry: %v", c)}, evidence...)
	if api, known := st.ServiceAt(e.Netns, e.Packet.Proto, to); known && api.Source == "api" {
		p, _ := portOf(api, e.Packet.Proto, to.Port())
		f.Evidence = append(f.Evidence, fmt.Sprintf("the API says %v", p.Endpoints))
	}
	return f
}
