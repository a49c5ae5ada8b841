// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// finding concludes from what an error says; ok is false if that is other rules' business, or no rule's.
func (r *ICMPErrors) finding(c *icmpError) (f event.Finding, ok bool) {
	p, about := c.event.Packet, c.about
	f = event.Finding{Severity: event.Warning, Confidence: event.Likely, Subject: "router " + p.Src.String()}
	if about.Tunnel != nil || overlays()[about.Dport] != "" && about.Proto == "udp" {
		return f, false // see Tunnels
	}
	mtu, tooBig := p.TooBig()
	name := p.ICMPName()
	switch {
	case tooBig:
		return r.tooBig(f, c, mtu)
	case name == "time-exceeded":
		return r.loop(f, c)
	case name == "redirect":
		return f, false // advice
	case name == "port-unreachable" && p.Src == about.Dst:
		return r.portClosed(f, c)
	}
	f.Title, f.Cause = fmt.Sprintf("%v has no route to %v.", p.Src, about.Dst), "The router was reached, and answered that it has no route to the destination."
	f.ID, f.Remedy = "no-route", []event.Remedy{run("ip route get %v", about.Dst).Noting("on %v", p.Src)}
	switch {
	case name == "net-unreachable" || name == "no-route":
	case name == "host-unreachable" || name == "address-unreachable":
		f.ID, f.Title = "neighbour-failed", fmt.Sprintf("%v cannot deliver packets to %v: it does not answer ARP or neighbour discovery.", p.Src, about.Dst)
		f.Cause = "The last router before the destination got no answer to ARP or neighbour discovery: the host is down, or no host has the address."
		f.Remedy = []event.Remedy{run("ip neigh show %v", about.Dst).Noting("on %v", p.Src),
			run("ip route get %v", about.Dst).Noting("on %v: an unreachable route causes the same error", p.Src)}
	case slices.Contains([]string{"admin-prohibited", "net-prohibited", "host-prohibited", "policy-failed", "port-unreachable"}, name):
		f.ID, f.Title = "netfilter-reject", fmt.Sprintf("A firewall at %v rejects packets to %s with %s.", p.Src, packet.FormatAddrPort(about.Destination()), name)
		f.Cause = "The router answers by an ICMP error that filters send: a REJECT rule, or a prohibit route."
		f.Remedy = append(rejectRules(p.Src, p.Src), run(forFamily(p.Src, "ip route show table all type prohibit")).Noting("on %v", p.Src))
	default:
		f.ID, f.Title = "icmp-unreachable", fmt.Sprintf("%v does not forward packets to %s: it answered ICMP %s.", p.Src, packet.FormatAddrPort(about.Destination()), name)
		f.Cause, f.Confidence = "The machine answered with an ICMP error about the packet, which did not arrive.", event.Certain
		f.Remedy = []event.Remedy{run("traceroute -n %v", about.Dst), run("tcpdump -ni any host %v", about.Dst).Noting("on %v", p.Src)}
	}
	return f, true
}

// tooBig is for captures alone: on a live node other rules see how the sender goes on. The error is how senders learn of
// the path MTU (RFC 1191): what goes on after it is what may be wrong.
func (r *ICMPErrors) tooBig(f event.Finding, c *icmpError, mtu uint32) (event.Finding, bool) {
	p, about := c.event.Packet, c.about
	f.ID, f.Severity, f.Confidence = "mtu-exceeded", event.Info, event.Certain
	f.Title = fmt.Sprintf("Packets of %d bytes to %v are too big for the path behind %v, which takes %d.", about.Len, about.Dst, p.Src, mtu)
	f.Cause = "The router answered with an ICMP error, and the sender should send smaller packets from now on."
	f.Remedy = []event.Remedy{largestPing(mtu, about.Dst)}
	return f, r.state.node.Kernel == ""
}

// loop concludes from a packet that passed too many routers: not if all packets of its flow, as far as they were seen,
// had as little life as traceroute gives, nor if none was seen.
func (r *ICMPErrors) loop(f event.Finding, c *icmpError) (event.Finding, bool) {
	most := uint8(0)
	for _, flow := range c.flows {
		most = max(most, r.state.effects.historyOf(flow, c.about.EchoID()).maxTTL)
	}
	p, about := c.event.Packet, c.about
	f.ID, f.Confidence = "ttl-exceeded", event.Certain
	f.Title = fmt.Sprintf("Packets to %v are in a routing loop: TTL exceeded after %d more routers.", about.Dst, most)
	f.Cause = "Two or more routers each have another of them as the next hop to the destination."
	f.Evidence = []string{fmt.Sprintf("seen here with TTL %d", most)}
	f.Remedy = []event.Remedy{run("traceroute -n %v", about.Dst).Noting("which routers come again and again")}
	f.Subject = fmt.Sprintf("%v", about.Dst)
	return f, p.ICMPCode == 0 && most > maxTraceroute
}

// rejectRules is how to find, on a host, the rules that refuse packets of an address's family.
func rejectRules(family, host netip.Addr) []event.Remedy {
	return []event.Remedy{
		pipe(run("nft list ruleset"), run("grep -n reject")).Noting("on %v", host),
		pipe(run(forFamily(family, "iptables-save -c")), run("grep -n REJECT")).Noting("on %v", host),
	}
}

// asksDNS reports whether a datagram is a DNS query with one question, whatever port of a service's backend it is sent to.
func asksDNS(b []byte) bool {
	const header, standard = 12, 0xf8 // of the flags: no answer, and no other operation than a query
	return len(b) > header && b[2]&standard == 0 && slices.Equal(b[4:10], []byte{0, 1, 0, 0, 0, 0})
}

// portClosed concludes from the destination's own word that nothing takes datagrams there. DNS has rules of its own.
func (r *ICMPErrors) portClosed(f event.Finding, c *icmpError) (event.Finding, bool) {
	const enough = 2
	p, to := c.event.Packet, c.about.Destination()
	by := icmpErrorKey{p.Src, p.ICMPName(), to}
	times, _ := r.seen.Get(by)
	r.seen.Put(by, times+1)
	forth, back := r.state.effects.history(c.about, false), r.state.effects.history(c.about, true)
	if to.Port() == dnsPort || asksDNS(c.about.Transport()) || isAnswer(c.about, forth, back) || forth.maxTTL > 0 && forth.maxTTL <= maxTraceroute {
		return f, false // a late answer, or the end of a traceroute
	}
	f.ID, f.Confidence, f.Subject = "icmp-unreachable", event.Certain, to.String()
	f.Title = fmt.Sprintf("%v answers that nothing listens on %s port %d.", p.Src, c.about.Proto, to.Port())
	if to.Port() == 0 {
		f.Title = fmt.Sprintf("%v answers that nothing there handles the IP protocol %s.", p.Src, c.about.Proto)
	}
	f.Cause = "The host was reached and answered ICMP port unreachable: the process is not running there, or listens elsewhere; or a REJECT rule of that host answers so."
	f.Remedy = append([]event.Remedy{sockets("lnp", c.about.Proto, to.Port()).Noting("on %v", to.Addr())}, rejectRules(to.Addr(), to.Addr())...)
	if times+1 < enough {
		f.Severity = event.Info // one try is no more than a question
	}
	return f, true
}
