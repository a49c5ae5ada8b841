// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Blackholes is the rule for paths on which large packets are lost, small ones pass, and no ICMP error says why. It
// wants retransmissions that sockets report, or whole packets of a capture, and the drops and ICMP errors of this node.
//
// Random loss hits small and large packets alike, and a dead peer acknowledges neither. So a path is a black hole only
// if large packets were retransmitted several times, something small was acknowledged after the first of them, and
// nothing as large was acknowledged since. What this node itself drops is left to the rule about drops.
type Blackholes struct {
	state   *State
	paths   bounded.Map[direction, *netPath]
	streams bounded.Map[halfConn, *stream] // of captures
	synAcks bounded.Map[sender, synAck]
	tooBig  bounded.Map[direction, tooBigError]
	dropped bounded.Map[direction, time.Time] // large packets, or ICMP errors about them, that this node dropped
	pruned  time.Time
}

// direction is from one address to another, as the sender knows them.
type direction struct{ src, dst netip.Addr }

func directionOf(f packet.FlowTuple) direction { return direction{f.Src.Addr(), f.Dst.Addr()} }

// netPath is what is known of a path since a large packet was first retransmitted.
type netPath struct {
	first, last time.Time
	flows       map[packet.FlowTuple]*retries
	large       uint32    // bytes, the smallest packet that was retransmitted
	small       string    // evidence of a small one that was acknowledged, "" if there is none
	since       time.Time // when that was
	ignored     uint64    // packets larger than an ICMP error to the sender allows
	reported    bool
}

// retries are one connection's retransmissions of a large packet.
type retries struct {
	sends []time.Time
	acked uint64 // bytes
	size  uint32
}

// sender is the end of a connection that sends.
type sender struct {
	flow  packet.FlowTuple
	netns uint32
}

// synAck is a SYN-ACK. If it is retransmitted the peer has not accepted the connection, perhaps because its accept queue is
// full, and drops data of any size.
type synAck struct {
	when  time.Time
	again bool
}

// tooBigError is the ICMP error with the path MTU.
type tooBigError struct {
	mtu  uint32
	from netip.Addr
	when time.Time
}

const (
	minRetries      = 4 // retransmissions of large packets
	minRetriesAfter = 3 // of them, after a small one passed: 3 s of one connection's timeouts
	minIgnored      = 3 // packets, so that they were not in flight before the error arrived
	dropLookback    = 10 * time.Second
	openAgain       = 1200 * time.Millisecond // by when a SYN-ACK is retransmitted, if it is: its timeout is 1 s
	maxSends        = 1 << 10
	pathMaxAge      = 2 * time.Minute
	maxRetries      = 64 // connections of a path whose retransmissions are kept
)

// NewBlackholes returns the rule; state must observe events before it.
func NewBlackholes(state *State) *Blackholes {
	return &Blackholes{state: state}
}

// Observe implements stage.Rule.
func (r *Blackholes) Observe(e event.Event) []event.Finding {
	switch b := e.Body.(type) {
	case event.Sock:
		if b.Op == event.SockRetransmit && e.Packet != nil {
			return r.report(e, b)
		}
	case event.Hop:
		return r.hop(e)
	case event.Drop:
		r.drop(e, b)
	}
	return nil
}

// Flush implements stage.Rule: it forgets.
func (r *Blackholes) Flush(now time.Time, _ bool) []event.Finding {
	if now.Sub(r.pruned) < time.Second {
		return nil
	}
	r.pruned = now
	r.paths.Expire(func(p *netPath) bool { return now.Sub(p.last) > pathMaxAge })
	r.streams.Expire(func(s *stream) bool { return now.Sub(s.last) > pathMaxAge })
	r.synAcks.Expire(func(o synAck) bool { return now.Sub(o.when) > pathMaxAge })
	r.tooBig.Expire(func(t tooBigError) bool { return now.Sub(t.when) > pathMaxAge })
	r.dropped.Expire(func(t time.Time) bool { return now.Sub(t) > pathMaxAge })
	return nil
}

// drop keeps that this node dropped a large packet of a path, or the ICMP error about one.
func (r *Blackholes) drop(e event.Event, d event.Drop) {
	p := e.Packet
	if d.Noise != "" || p == nil {
		return
	}
	if _, ok := p.TooBig(); ok {
		p = p.Quoted()
	}
	if p == nil || p.Len <= minPathMTU(p.Src) {
		return
	}
	flows := []packet.FlowTuple{p.Flow()}
	if d.Conntrack != nil {
		flows = append(flows, d.Conntrack.Original, d.Conntrack.Reply)
	}
	for _, f := range flows {
		r.dropped.Put(directionOf(f), e.Time)
	}
}

// minPathMTU is the packet length that every path takes (RFC 791, RFC 8200).
func minPathMTU(a netip.Addr) uint32 {
	if a.Is4() {
		return 576
	}
	return 1280
}

// report takes in a retransmission that a socket reports.
func (r *Blackholes) report(e event.Event, s event.Sock) []event.Finding {
	if e.Packet.Len <= minPathMTU(e.Packet.Src) {
		return nil
	}
	p := r.path(e)
	if c := p.flows[e.Packet.Flow()]; c != nil && s.Acked > c.acked && e.Packet.Len >= c.size {
		p.reset(e.Time) // as large a packet was acknowledged
	}
	switch made := e.Time.Add(-s.Age); {
	case s.Sacked == 1 && s.SackedBytes < s.Payload:
		p.smallPassed(e.Time, fmt.Sprintf("a segment of %d bytes, sent after one of %d, was acknowledged and that one was not", s.SackedBytes, s.Payload))
	case s.Sacked > 1 && s.SackedBytes/s.Sacked < s.Payload/2:
		p.smallPassed(e.Time, fmt.Sprintf("%d segments of %d bytes in all, sent after one of %d, were acknowledged and that one was not", s.Sacked, s.SackedBytes, s.Payload))
	case s.Age > 0 && made.After(p.first) && s.Received > 0:
		p.smallPassed(made, fmt.Sprintf("a connection made since, %v, over which %d bytes were received", e.Packet.Flow(), s.Received))
	}
	return r.retransmitted(e, p, retries{acked: s.Acked, size: e.Packet.Len}, s.Acked > 1 || s.Received > 0 || s.Sacked > 0)
}

// path returns what is known of the packet's path.
func (r *Blackholes) path(e event.Event) *netPath {
	d := directionOf(e.Packet.Flow())
	p := r.paths.Keep(d, func() *netPath { return &netPath{} })
	if p.flows == nil || len(p.flows) >= maxRetries {
		p.reset(e.Time)
	}
	return p
}

// reset forgets earlier retransmissions.
func (p *netPath) reset(now time.Time) {
	*p = netPath{first: now, flows: map[packet.FlowTuple]*retries{}}
}

// smallPassed keeps that something small was acknowledged.
func (p *netPath) smallPassed(when time.Time, what string) {
	if p.small == "" {
		p.small, p.since = what, when
	}
}

// retransmitted counts a retransmission, and concludes. accepted says that the peer is known to have accepted the
// connection.
func (r *Blackholes) retransmitted(e event.Event, p *netPath, now retries, accepted bool) []event.Finding {
	flow := e.Packet.Flow()
	p.last = e.Time
	if !r.accepted(e, p) && !accepted {
		delete(p.flows, flow)
		return nil
	}
	if c := p.flows[flow]; c != nil {
		now.sends = c.sends
	}
	if len(now.sends) < maxSends {
		now.sends = append(now.sends, e.Time)
	}
	p.flows[flow] = &now
	if p.large == 0 || e.Packet.Len < p.large {
		p.large = e.Packet.Len
	}
	return r.conclude(e, p)
}

// accepted reports whether the peer seems to have accepted the packet's connection. If the connection was made after the
// path's first retransmission, SYN and SYN-ACK are small packets that passed.
func (r *Blackholes) accepted(e event.Event, p *netPath) bool {
	o, ok := r.synAcks.Get(sender{e.Packet.Flow(), e.Netns})
	if !ok || o.again {
		return false
	}
	if o.when.After(p.first) && e.Time.Sub(o.when) > openAgain {
		p.smallPassed(o.when, fmt.Sprintf("SYN and answer of a connection made since, %v", e.Packet.Flow()))
	}
	return true
}

// synAck takes in a SYN-ACK. Several devices see one packet at about the same time.
func (r *Blackholes) synAck(e event.Event) {
	const sameTime = 500 * time.Millisecond
	if e.Direction == event.Out {
		return
	}
	s := sender{e.Packet.Flow().Reverse(), e.Netns}
	o, ok := r.synAcks.Get(s)
	switch {
	case !ok:
		r.synAcks.Put(s, synAck{when: e.Time})
	case e.Time.Sub(o.when) > sameTime:
		o.again = true
		r.synAcks.Put(s, o)
	}
}

// conclude judges a path after another retransmission.
func (r *Blackholes) conclude(e event.Event, p *netPath) []event.Finding {
	d := directionOf(e.Packet.Flow())
	tooBig, ok := r.tooBig.Get(d)
	switch {
	case r.explained(d, p):
		return nil
	case ok && e.Packet.Len > tooBig.mtu && e.Time.Sub(tooBig.when) > answerWithin:
		p.ignored++
		if p.ignored < minIgnored {
			return nil
		}
		return p.found(e, p.ignored, p.icmpIgnored(e, tooBig))
	case ok && tooBig.when.After(p.first):
		return nil
	}
	all, after := p.retries()
	if all < minRetries || after < minRetriesAfter {
		return nil
	}
	return p.found(e, all, r.state.blackhole(e, p))
}

// explained reports whether this node itself dropped large packets of the path.
func (r *Blackholes) explained(d direction, p *netPath) bool {
	at, ok := r.dropped.Get(d)
	return ok && at.After(p.first.Add(-dropLookback))
}

// retries counts all retransmissions, and those that failed after a small packet passed. Whether the last one of each
// connection failed is not known yet.
func (p *netPath) retries() (all, after uint64) {
	for _, c := range p.flows {
		all += uint64(len(c.sends))
		var later uint64
		for _, t := range c.sends {
			if p.small != "" && !t.Before(p.since) {
				later++
			}
		}
		after += max(later, 1) - 1
	}
	return all, after
}

// found completes a finding, which counts n packets the first time and one from then on.
func (p *netPath) found(e event.Event, n uint64, f event.Finding) []event.Finding {
	f = f.Of(e)
	f.Time, f.Last = e.Time, e.Time
	f.Count = 1
	if !p.reported {
		f.Count, p.reported = n, true
	}
	return []event.Finding{f}
}

// blackhole is the finding about a path that drops large packets silently.
func (st *State) blackhole(e event.Event, p *netPath) event.Finding {
	all, _ := p.retries()
	src, dst := e.Packet.Src, e.Packet.Dst
	from, to := e.Ends()
	f := event.Finding{
		ID: "pmtu-blackhole", Confidence: event.Likely, Subject: fmt.Sprintf("%v to %v", src, dst), First: p.first,
		Title: fmt.Sprintf("Packets of %d bytes from %s to %s are lost while small ones pass, without an ICMP error: a path MTU black hole.",
			p.large, podOrAddr(from, src), podOrAddr(to, dst)),
		Cause: "A router or link on the path takes no packets of that size, and the ICMP error for the sender is not sent or is filtered: " +
			"path MTU discovery fails, so transfers hang where short exchanges work.",
		Evidence: []string{
			fmt.Sprintf("does not pass: %d bytes, retransmitted %d times over %d connections, last %s %v", p.large, all, len(p.flows), e.Packet.Proto, e.Packet.Flow()),
			"passes: " + p.small,
			fmt.Sprintf("no ICMP message about packets from %v to %v that are too big was seen, and this node dropped none", src, dst),
		},
		Remedy: probe(p.large, dst),
	}
	if s, ok := e.Body.(event.Sock); ok && s.PathMTU != 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the sender assumes a path MTU of %d bytes", s.PathMTU))
	}
	if v := st.sysctl(e.Netns, "net.ipv4.tcp_mtu_probing"); v != "" {
		f.Evidence = append(f.Evidence, "net.ipv4.tcp_mtu_probing = "+v)
	}
	return f
}

// icmpIgnored is the finding about a sender that goes on with large packets after an ICMP error.
func (p *netPath) icmpIgnored(e event.Event, tooBig tooBigError) event.Finding {
	src, dst := e.Packet.Src, e.Packet.Dst
	from, to := e.Ends()
	return event.Finding{
		ID: "pmtu-icmp-ignored", Confidence: event.Likely, Subject: fmt.Sprintf("%v to %v", src, dst), First: tooBig.when,
		Title: fmt.Sprintf("%s keeps sending packets to %s that are larger than the path MTU of %d in an ICMP error to it.", podOrAddr(from, src), podOrAddr(to, dst), tooBig.mtu),
		Cause: "The ICMP error passed here, but the sender does not get it or ignores it: a filter drops it further on, " +
			"it does not fit the connection, or path MTU discovery is off.",
		Evidence: []string{
			fmt.Sprintf("%s packet-too-big (MTU %d) from %v", tooBig.when.UTC().Format("15:04:05.000000"), tooBig.mtu, tooBig.from),
			fmt.Sprintf("%d packets of %d bytes and more were sent %v and more after it, last %s %v", p.ignored, p.large, answerWithin, e.Packet.Proto, e.Packet.Flow()),
		},
		Remedy: append(atSender(src), probe(p.large, dst)...),
	}
}

// probe is how to find the size that passes, and what helps until the way is mended.
func probe(size uint32, dst netip.Addr) []event.Remedy {
	ping, headers := line("ping -c3 -M do -s %v %v"), uint32(28)
	if !dst.Is4() {
		ping, headers = "ping -6 -c3 -M do -s %v %v", 48
	}
	return []event.Remedy{
		run(ping, size-headers, dst).Noting("from the sender: lower the size until it passes; %d more is the path MTU", headers),
		run(forFamily(dst, "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu")).Noting("at the router before the narrow link"),
		run("sysctl -w net.ipv4.tcp_mtu_probing=1").Noting("the sender finds the size by itself, after some seconds"),
		do("let ICMP type 3 code 4 and ICMPv6 type 2 pass every firewall between the two"),
	}
}

// atSender is how to find out why a sender ignores ICMP errors.
func atSender(src netip.Addr) []event.Remedy {
	return []event.Remedy{
		pipe(run(forFamily(src, "iptables-save")), run("grep -i icmp")).Noting("is ICMP filtered at the sender?"),
		pipe(run("nft list ruleset"), run("grep -i icmp")).Noting("the same for nftables"),
		run("sysctl net.ipv4.ip_no_pmtu_disc"),
	}
}

// podOrAddr says who is at an address.
func podOrAddr(p event.Pod, a netip.Addr) string {
	if name := p.String(); name != "" {
		return fmt.Sprintf("%s (%v)", name, a)
	}
	return a.String()
}
