package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder"
)

// Alone is the rule for captures that say nothing but packets: what other machines told a sender of its packets, and
// names that exist nowhere. Where the node is known other rules conclude the same from what that says, and this one
// keeps silent. It wants whole packets as captures have them, and decoder.DNS; know must be asked before it.
type Alone struct {
	know    *Facts
	hops    map[decoder.FlowTuple]uint8 // with which TTL the latest packet of a flow was seen
	errors  map[uint64]bool             // journeys of ICMP errors
	lookups map[aloneKey]*aloneLookup
}

// Bounds of what is remembered; when there is more, all is forgotten.
const (
	maxAlone = 1 << 16
	// longestWay is the TTL from which on no traceroute starts: they begin with 1 and end with 30.
	longestWay = 32
)

// NewAlone returns the rule.
func NewAlone(know *Facts) *Alone {
	return &Alone{know: know, hops: map[decoder.FlowTuple]uint8{}, errors: map[uint64]bool{}, lookups: map[aloneKey]*aloneLookup{}}
}

// Observe implements decoder.Rule.
func (r *Alone) Observe(e decoder.Event) []decoder.Finding {
	if r.know.node.Kernel != "" {
		return nil
	}
	switch b := e.Body.(type) {
	case decoder.DNS:
		r.lookup(e, b)
	case decoder.Hop:
		return r.hop(e)
	}
	return nil
}

func (r *Alone) hop(e decoder.Event) []decoder.Finding {
	if e.Packet == nil {
		return nil
	}
	about := e.Packet.About()
	if about == nil {
		if len(r.hops) >= maxAlone {
			clear(r.hops)
		}
		r.hops[e.Packet.Flow()] = e.Packet.TTL
		return nil
	}
	if r.errors[e.Journey] {
		return nil
	}
	if len(r.errors) >= maxAlone {
		clear(r.errors)
	}
	r.errors[e.Journey] = true
	f, ok := r.answer(e.Packet, about)
	if !ok {
		return nil
	}
	f.Time, f.First, f.Last, f.Count, f.Pod, f.Peer = e.Time, e.Time, e.Time, 1, e.Pod, e.Peer
	f.Evidence = append([]string{fmt.Sprintf("%s ICMP %s from %v about %s %v", e.Time.UTC().Format("15:04:05.000000"), e.Packet.ICMPName(), e.Packet.Src, about.Proto, about.Flow())}, f.Evidence...)
	return []decoder.Finding{f}
}

// answer concludes from an ICMP error and the packet that it is about.
func (r *Alone) answer(p, about *decoder.Packet) (decoder.Finding, bool) {
	f := decoder.Finding{Severity: decoder.Warning, Confidence: decoder.Likely, Subject: about.Dst.String()}
	mtu, tooBig := p.TooBig()
	switch name := p.ICMPName(); {
	case tooBig:
		// The error is how senders learn of it (RFC 1191): what goes on after it is what may be wrong.
		f.ID, f.Severity, f.Confidence = "mtu-exceeded", decoder.Info, decoder.Certain
		f.Title = fmt.Sprintf("Packets of %d bytes to %v are too big for the way behind %v, which takes %d.", about.Len, about.Dst, p.Src, mtu)
		f.Cause = "The sender was told (ICMP), and should send smaller packets from now on."
		f.Remedy = []string{largestPing(mtu, about.Dst)}
	case name == "time-exceeded" && p.ICMPCode == 0:
		left, seen := r.hops[about.Flow()]
		if !seen || left < longestWay {
			return f, false // traceroute, or nobody knows
		}
		f.ID, f.Confidence = "ttl-exceeded", decoder.Certain
		f.Title = fmt.Sprintf("Packets to %v run in a circle: they pass %d routers more and do not arrive.", about.Dst, left)
		f.Cause = "Two or more routers each take another for the way to the destination."
		f.Evidence = []string{fmt.Sprintf("seen here with TTL %d", left)}
		f.Remedy = []string{fmt.Sprintf("traceroute -n %v   # which addresses come again and again", about.Dst)}
	case name == "net-unreachable" || name == "no-route":
		f.ID, f.Title = "no-route", fmt.Sprintf("%v has no route to %v.", p.Src, about.Dst)
		f.Cause = "The router was reached, knows no way on, and said so."
		f.Remedy = []string{fmt.Sprintf("on %v: ip route get %v", p.Src, about.Dst)}
	case name == "host-unreachable" || name == "address-unreachable":
		f.ID, f.Title = "neighbour-failed", fmt.Sprintf("%v is to deliver packets to %v, and gets no answer from it.", p.Src, about.Dst)
		f.Cause = "The last router before the destination asked for its link address in vain (ARP, ND): the host is down, or the address nobody's."
		f.Remedy = []string{fmt.Sprintf("on %v: ip neigh show %v", p.Src, about.Dst)}
	case name == "admin-prohibited" || name == "net-prohibited" || name == "host-prohibited":
		f.ID, f.Title = "netfilter-reject", fmt.Sprintf("A firewall at %v rejects packets to %v.", p.Src, decoder.End(about.Destination()))
		f.Cause = "Packets are answered by an ICMP error that only filters send."
		f.Subject = decoder.End(about.Destination())
		f.Remedy = []string{fmt.Sprintf("on %v: nft list ruleset | grep -n reject; iptables-save -c | grep -n REJECT", p.Src)}
	default:
		return f, false
	}
	return f, true
}

// Flush implements decoder.Rule.
func (r *Alone) Flush(now time.Time, final bool) []decoder.Finding { return r.judge(now, final) }
