// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Tunnels is the rule for tunnels between nodes by which packets leave and nothing comes back, for what was lost behind
// this node makes no drop here; and for those whose port a process has taken. It wants hops with the packets that tunnels carry.
type Tunnels struct {
	state    *State
	tunnels  map[tunnelKey]*tunnelState
	lastSeen bounded.Map[outerFlow, event.Header] // where packets were last seen
	arrived  *pending                             // where a device for them is down
}

// tunnelKey is a tunnel from one node to another, as a namespace that has it sees it.
type tunnelKey struct {
	netns       uint32
	local, peer netip.Addr
	port        uint16
}

// outerFlow is a tunnel's packets from one node to another.
type outerFlow struct {
	from netip.Addr
	to   netip.AddrPort
}

// tunnelState is what went by a way since an answer last came back.
type tunnelState struct {
	first, last time.Time
	event       event.Event  // the first
	journey     uint64       // the latest: devices are stacked
	out, in     uint64       // of all time
	requests    uint64       // packets that are always answered, if only by an error
	requested   []netip.Addr // pods, or others, that they were for
	icmp        string       // the ICMP error that came instead
	icmpFrom    netip.Addr   // its sender
	reported    bool
}

const (
	maxTunnels   = 1024
	maxRequested = 16
	minRequests  = 3               // questions without an answer
	minSilence   = 2 * time.Second // between the first and the last of them: TCP's first two tries are 1 s apart
	replyTimeout = time.Second     // for the answer to the last
)

// NewTunnels returns the rule; state must observe events before it.
func NewTunnels(state *State) *Tunnels {
	return &Tunnels{state: state, tunnels: map[tunnelKey]*tunnelState{}, arrived: newPending()}
}

// Observe implements stage.Rule.
func (r *Tunnels) Observe(e event.Event) []event.Finding {
	if _, ok := e.Body.(event.Hop); !ok || e.Packet == nil {
		return nil
	}
	p := e.Packet
	if p.Tunnel != nil {
		r.lastSeen.Put(outerFlow{p.Src, p.Destination()}, e.Header)
	}
	switch {
	case p.Tunnel != nil && e.Direction == event.Out:
		r.sent(e)
	case p.Tunnel != nil && e.Direction == event.In:
		r.received(e)
		if r.down(e.Netns) != "" {
			r.arrived.add(e, "tunnel", false)
		}
	case e.Direction == event.In && p.IsICMPError():
		r.refused(e)
	}
	return nil
}

func (r *Tunnels) sent(e event.Event) {
	p := e.Packet
	k := tunnelKey{e.Netns, p.Src, p.Dst, p.Dport}
	x := r.tunnels[k]
	if x == nil {
		if len(r.tunnels) >= maxTunnels {
			clear(r.tunnels)
		}
		x = &tunnelState{}
		r.tunnels[k] = x
	}
	if e.Journey != 0 && e.Journey == x.journey {
		return
	}
	x.journey = e.Journey
	x.out++
	inner := p.Innermost()
	if !wantsReply(inner) {
		return
	}
	if x.requests == 0 {
		x.first, x.event = e.Time, e
	}
	x.requests++
	x.last = e.Time
	if !slices.Contains(x.requested, inner.Dst) && len(x.requested) < maxRequested {
		x.requested = append(x.requested, inner.Dst)
	}
}

// received takes in what a tunnel brought. An answer to any question shows that the tunnel works both ways; what hosts say
// to all, or ask themselves, shows only the one.
func (r *Tunnels) received(e event.Event) {
	p, inner := e.Packet, e.Packet.Innermost()
	x := r.tunnels[tunnelKey{e.Netns, p.Dst, p.Src, p.Dport}]
	if x == nil || inner.Dst.IsMulticast() {
		return
	}
	x.in++
	if !wantsReply(inner) && (slices.Contains(x.requested, inner.Src) || inner.IsICMPError()) {
		*x = tunnelState{out: x.out, in: x.in, reported: x.reported}
	}
}

// wantsReply reports whether a packet has an answer in any case, be it an error.
func wantsReply(p *packet.Packet) bool {
	return p.Proto == "tcp" && p.HasFlag('S') && !p.HasFlag('.') || p.IsICMP(8, 128) || p.Proto == "udp" && p.Dport == dnsPort
}

// refused takes in an ICMP error about what a tunnel sent.
func (r *Tunnels) refused(e event.Event) {
	about := e.Packet.Quoted()
	if about == nil {
		return
	}
	if _, tooBig := e.Packet.TooBig(); tooBig {
		return
	}
	if x := r.tunnels[tunnelKey{e.Netns, about.Src, about.Dst, about.Dport}]; x != nil && x.requests > 0 {
		x.icmpFrom = e.Packet.Src
		x.icmp = fmt.Sprintf("ICMP %s from %v", e.Packet.ICMPName(), e.Packet.Src)
	}
}

// Flush implements stage.Rule.
func (r *Tunnels) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	for k, x := range r.tunnels {
		silent := x.requests >= minRequests && x.last.Sub(x.first) >= minSilence && now.Sub(x.last) >= replyTimeout
		if x.reported || !silent && x.icmp == "" {
			continue
		}
		x.reported = true
		if x.icmp == "" && r.cameThrough(k) {
			continue // what became of it there is other rules' business
		}
		found = append(found, x.finding(k, now))
	}
	slices.SortFunc(found, func(a, b event.Finding) int { return a.First.Compare(b.First) })
	for _, h := range r.arrived.expired(now, final, r.state.awaitsFacts) {
		if f, ok := r.taken(h); ok {
			f.Time = now
			found = append(found, f)
		}
	}
	return found
}

// cameThrough reports whether what was sent by a way was seen to arrive at its other end, which is on this machine, too.
func (r *Tunnels) cameThrough(k tunnelKey) bool {
	last, seen := r.lastSeen.Get(outerFlow{k.local, netip.AddrPortFrom(k.peer, k.port)})
	if !seen || last.Direction != event.In || last.Netns == k.netns {
		return false
	}
	for key, device := range r.state.devices.All() {
		if key.netns == last.Netns && slices.ContainsFunc(device.Addrs, func(p netip.Prefix) bool { return p.Addr() == k.peer }) {
			return true
		}
	}
	return false
}

// down is the name of a tunnel's device of a namespace that is down, the first of several; "" if there is none.
func (r *Tunnels) down(inode uint32) string {
	name := ""
	for k := range r.state.downTunnels.All() {
		if k.netns == inode && (name == "" || k.iface < name) {
			name = k.iface
		}
	}
	return name
}

// taken reports a tunnel's packets that a process receives: while it has the port, the tunnel's device cannot be up.
func (r *Tunnels) taken(h *pendingDrop) (event.Finding, bool) {
	e := h.event
	s, ok := r.state.sockets.Get(event.KeyOf(e))
	device := r.down(e.Netns)
	if !ok || !s.Found || s.PID == 0 || device == "" {
		return event.Finding{}, false
	}
	here, by := e.Packet.Destination(), event.Process{PID: s.PID, Comm: s.Comm}
	return event.Finding{
		ID: "overlay-blocked", Recorded: true, Confidence: event.Certain, Subject: fmt.Sprintf("%v in netns %d", here, e.Netns),
		Title: fmt.Sprintf("Process %v is bound to UDP port %d, at which other nodes' packets arrive: the tunnel device %s is down.", by, here.Port(), device),
		Cause: "A tunnel device needs its port for itself and cannot be set up while a process is bound to it; that process receives what other nodes send.",
		Evidence: []string{
			fmt.Sprintf("%s %v%s", h.first.UTC().Format("15:04:05.000000"), e.Packet, event.At(e)),
			fmt.Sprintf("the socket at %v is of %s; device %s is down in netns %d", s.Local, by.Long(), device, e.Netns),
		},
		Remedy: []event.Remedy{
			sockets("lnp", "udp", here.Port()).In(r.state.enter(e.Netns)),
			run("ip link set dev %v up", device).In(r.state.enter(e.Netns)).Noting("once that process has ended, or has another port"),
		},
		Count: h.count, First: h.first, Last: h.last,
	}.Of(e), true
}

func (x *tunnelState) finding(k tunnelKey, now time.Time) event.Finding {
	peer, carrier := netip.AddrPortFrom(k.peer, k.port).String(), fmt.Sprintf("UDP port %d", k.port)
	if k.port == 0 {
		peer, carrier = k.peer.String(), x.event.Packet.Tunnel.Kind
	}
	f := event.Finding{
		Time: now, ID: "overlay-blocked", Confidence: event.Likely,
		Subject: fmt.Sprintf("%v > %s", k.local, peer),
		Title:   fmt.Sprintf("Packets from %v through the tunnel to %s get no answer: pods of the two nodes do not reach each other.", k.local, peer),
		Cause: fmt.Sprintf("Encapsulated packets leave this node and nothing comes back, not even an error: a firewall between the nodes drops %s, "+
			"the other node is down, or drops them itself (bad checksum, a stale MAC).", carrier),
		Evidence: []string{
			fmt.Sprintf("%s %v%s", x.first.UTC().Format("15:04:05.000000"), x.event.Packet, event.At(x.event)),
			fmt.Sprintf("%d packets left for %s, %d came back; unanswered since then: %d questions (SYN, echo request, DNS) to %v within %s",
				x.out, peer, x.in, x.requests, x.requested, event.Brief(x.last.Sub(x.first))),
		},
		Remedy: []event.Remedy{
			run("tcpdump -ni any host %v", k.local).Noting("on %v: does %s arrive?", k.peer, carrier),
			run("nstat -az UdpInCsumErrors").Noting("on %v: does it arrive with a bad checksum?", k.peer),
			run("ip -s -s link show type vxlan").Noting("on %v: what the tunnel's device counts", k.peer),
			do("let %s pass between all nodes, in the cloud's security groups, too", carrier),
		},
		Count: x.requests, First: x.first, Last: x.last,
	}.Of(x.event)
	f.About.Proto = "" // whatever it carries
	for _, a := range x.requested {
		f.About.Asks(netip.Addr{}, netip.AddrPortFrom(a, 0))
	}
	switch {
	case x.icmp != "":
		f.Confidence, f.Recorded = event.Certain, true
		f.Title = fmt.Sprintf("%s rejects packets from %v through the tunnel: pods of the two nodes do not reach each other.", peer, k.local)
		f.Cause = "The other node answered with an error: no tunnel device listens there, or a firewall of its own rejects it."
		if x.icmpFrom != k.peer {
			f.Title = fmt.Sprintf("The router %v does not forward packets from %v through the tunnel to %s: pods of the two nodes do not reach each other.", x.icmpFrom, k.local, peer)
			f.Cause = "The other node was not reached: a router before it answered with an error, which says why."
		}
		f.Evidence = append(f.Evidence, "answered by "+x.icmp)
	case len(x.requested) == 1: // a policy of that pod looks the same
		f.Severity, f.Confidence = event.Warning, event.Possible
	}
	return f
}
