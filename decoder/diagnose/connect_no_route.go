// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// ConnectNoRoute is the rule for connect calls, and for servers' answers over UDP, that fail without a packet: the namespace
// has no route. It wants event.Sock and the facts about the node's routes.
type ConnectNoRoute struct {
	state   *State
	ports   []uint16 // of queries that it is for alone; nil: it is for all calls
	pending *pending
	latest  bounded.Map[failedConnect, time.Time]
}

// failedConnect is a connect call that fails. The kernel may look the route up twice: to choose a source address, and
// then from it.
type failedConnect struct {
	tid uint32
	to  netip.AddrPort
}

// sameCall is the longest time between route lookups of one connect call.
const sameCall = time.Millisecond

// NewConnectNoRoute returns the rule; state must observe events before it. Beside DNS events it is for queries alone, to the
// ports of DNS servers.
func NewConnectNoRoute(state *State, c Config) *ConnectNoRoute {
	r := &ConnectNoRoute{state: state, pending: newPending()}
	if c.Kind == event.KindDNS {
		r.ports = c.Ports
	}
	return r
}

// Observe implements stage.Rule.
func (r *ConnectNoRoute) Observe(e event.Event) []event.Finding {
	if s, ok := e.Body.(event.Sock); ok && s.Op == event.SockNoRoute && e.Packet != nil && r.isWanted(e) && !r.lookedUpBefore(e) {
		r.pending.add(e, string(s.Op), false)
	}
	return nil
}

func (r *ConnectNoRoute) isWanted(e event.Event) bool {
	return r.ports == nil || slices.Contains(r.ports, e.Packet.Dport) && !isUDPAnswer(e.Packet)
}

// lookedUpBefore reports whether the route was already looked up for this connect call.
func (r *ConnectNoRoute) lookedUpBefore(e event.Event) bool {
	call := failedConnect{e.TID, e.Packet.Destination()}
	before, seen := r.latest.Get(call)
	r.latest.Put(call, e.Time)
	return seen && e.TID != 0 && e.Time.Sub(before) < sameCall
}

// Flush implements stage.Rule.
func (r *ConnectNoRoute) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	awaits := func(e event.Event, age time.Duration) bool { // a busy node is read late
		_, known := r.state.route(e, false)
		return age < factsWithin || !known && age < factsDeadline
	}
	for _, h := range r.pending.expired(now, final, awaits) {
		if f, ok := r.state.unreachable(h.event); ok {
			f = f.Of(h.event)
			f.Time, f.First, f.Last, f.Count = now, h.first, h.last, h.count
			if isUDPAnswer(h.event.Packet) {
				r.state.answers(&f, h.event)
			} else if f.Pod, f.Peer = h.event.Ends(); f.ID == "no-route" && mayFallBack(h.event.Packet.Dst) {
				f.Severity = event.Info
			}
			found = append(found, f)
		}
	}
	return found
}

// mayFallBack reports whether programs try an address though it may have no route: public IPv6, before IPv4. A private
// address (RFC 4193) was given on purpose.
func mayFallBack(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsPrivate() && !a.IsLinkLocalUnicast()
}

// unreachable concludes from a connect call and the result of the route lookup.
func (st *State) unreachable(e event.Event) (event.Finding, bool) {
	r, ok := st.route(e, false)
	if !ok || r.Errno == "" {
		return event.Finding{}, false
	}
	to := e.Packet.Destination()
	f := event.Finding{
		ID: "no-route", Confidence: event.Certain, Subject: st.routesThatLack(e, ""),
		Title: fmt.Sprintf("%v cannot reach %v: its network namespace has no route there.", e.Process(), to),
		Cause: "The kernel found no way before it made a packet, so the system call failed at once; nothing left the sender.",
		Evidence: []string{
			fmt.Sprintf("%s connect by %v in netns %d to %v", e.Time.UTC().Format("15:04:05.000000"), e.Process(), e.Netns, to),
			"route lookup: " + describeRoute(r),
		},
		Remedy: []event.Remedy{
			run(forFamily(to.Addr(), "ip route get %v"), to.Addr()).In(st.enter(e.Netns)),
			run(forFamily(to.Addr(), "ip route show table all")).In(st.enter(e.Netns)),
		},
	}
	for _, d := range st.devicesOf(e.Netns) {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s, %s", d.Name, addresses(d)))
	}
	if isUDPAnswer(e.Packet) {
		st.noRouteBack(&f, e)
		return f, true
	}
	s, known := st.ServiceAt(e.Netns, e.Packet.Proto, to)
	if !known {
		return f, true
	}
	f.ID = "service-no-route"
	f.Title = fmt.Sprintf("%v cannot connect to %s: its network namespace has no route there, so no rule could translate it.",
		e.Process(), called(s, event.ServiceRules{}, to))
	f.Evidence = append(f.Evidence, source(s))
	return f, true
}
