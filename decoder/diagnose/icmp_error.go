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

// ICMPErrors is the rule for what other machines say of packets that they do not pass on. An error that this machine
// made itself, in whatever namespace, follows from a drop, and the drop's rule knows more: this one is silent then. It
// wants hops of ICMP errors with the packets that they quote, and drops; state must observe events before it.
type ICMPErrors struct {
	state    *State
	dropped  bounded.Map[natFlow, time.Time] // flows that this machine dropped a packet of, and when the latest
	journeys bounded.Map[uint64, *icmpError]
	pending  []*icmpError // in the order of time
	seen     bounded.Map[icmpErrorKey, uint64]
	probes   map[netip.Addr]map[netip.Addr]bool // clients, and whom each of them pings though a router says that it cannot
}

// icmpError is one ICMP error on its way to the sender that it is for.
type icmpError struct {
	event event.Event    // where it was first seen
	about *packet.Packet // what it quotes there
	flows []natFlow      // those of about wherever it was seen: translation changes them
}

// icmpErrorKey is what a machine says about packets to a destination.
type icmpErrorKey struct {
	from netip.Addr
	name string
	to   netip.AddrPort
}

const (
	maxICMPErrors = 4096
	maxProbers    = 1024
	maxProbed     = 256
	// madeWithin is how long after an error the drop may be reported that it is about: what netfilter drops waits for the hook.
	madeWithin = time.Second
	// probedWithin is how long a ping waits for others: many make a scan for hosts.
	probedWithin = 5 * time.Second
	// enoughProbed is how many hosts a scan pings at least.
	enoughProbed = 4
)

// NewICMPErrors returns the rule.
func NewICMPErrors(state *State) *ICMPErrors {
	return &ICMPErrors{state: state, probes: map[netip.Addr]map[netip.Addr]bool{}}
}

// Observe implements stage.Rule.
func (r *ICMPErrors) Observe(e event.Event) []event.Finding {
	if e.Packet == nil {
		return nil
	}
	switch b := e.Body.(type) {
	case event.Drop:
		r.drop(e, b)
	case event.Hop:
		if about := e.Packet.Quoted(); about != nil && len(r.pending) < maxICMPErrors {
			r.hop(e, about)
		}
	}
	return nil
}

func (r *ICMPErrors) drop(e event.Event, d event.Drop) {
	if d.NoSocket() {
		return // no rule concludes from that alone: the error says it
	}
	r.dropped.Put(flowOf(e.Packet), e.Time)
	if c := d.Conntrack; c != nil {
		r.dropped.Put(natFlow{e.Packet.Proto, c.Original}, e.Time)
		r.dropped.Put(natFlow{e.Packet.Proto, c.Reply.Reverse()}, e.Time)
	}
}

func flowOf(p *packet.Packet) natFlow { return natFlow{p.Proto, p.Flow()} }

// hop takes in an error at a device. Where it is seen again translation may have changed it, and the pod is known.
func (r *ICMPErrors) hop(e event.Event, about *packet.Packet) {
	if c, seen := r.journeys.Get(e.Journey); seen && e.Journey != 0 {
		if flow := flowOf(about); !slices.Contains(c.flows, flow) {
			c.flows = append(c.flows, flow)
		}
		if c.event.Pod.String() == "" {
			c.event.Pod, c.event.Peer, c.event.ToPod = e.Pod, e.Peer, e.ToPod
		}
		return
	}
	c := &icmpError{event: e, about: about, flows: []natFlow{flowOf(about)}}
	r.journeys.Put(e.Journey, c)
	r.pending = append(r.pending, c)
	if !isProbe(about) {
		return
	}
	probed := r.probes[about.Src]
	if probed == nil {
		if len(r.probes) >= maxProbers {
			clear(r.probes)
		}
		probed = map[netip.Addr]bool{}
		r.probes[about.Src] = probed
	}
	if len(probed) < maxProbed {
		probed[about.Dst] = true
	}
}

// isProbe reports whether no program needs an answer to a packet: a ping.
func isProbe(p *packet.Packet) bool { return p.IsICMP(8, 128) }

// Flush implements stage.Rule.
func (r *ICMPErrors) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	r.pending = slices.DeleteFunc(r.pending, func(c *icmpError) bool {
		wait := madeWithin
		if isProbe(c.about) {
			wait = probedWithin
		}
		if !final && now.Sub(c.event.Time) < wait {
			return false
		}
		if f, ok := r.judge(c); ok {
			f.Time = now
			found = append(found, f)
		}
		return true
	})
	return found
}

// judge concludes from an error.
func (r *ICMPErrors) judge(c *icmpError) (event.Finding, bool) {
	if r.sentByThisNode(c) {
		return event.Finding{}, false
	}
	f, ok := r.finding(c)
	if !ok {
		return f, false
	}
	e, p, about := c.event, c.event.Packet, c.about
	f = f.Of(e)
	f.First, f.Last, f.Count = e.Time, e.Time, 1
	place := event.At(e)
	if place != "" {
		place = ", first seen" + place
	}
	f.Evidence = append([]string{fmt.Sprintf("%s ICMP %s from %v about %s %v%s", e.Time.UTC().Format("15:04:05.000000"), p.ICMPName(), p.Src, about.Proto, about.Flow(), place)}, f.Evidence...)
	if last, works := r.state.effects.history(c.about, true).after(e.Time); works {
		f.Over = last
	}
	if why := r.benign(c); why != "" && f.Severity != event.Info {
		f.Severity = event.Info
		f.Evidence = append(f.Evidence, why)
	}
	return f, true
}

// sentByThisNode reports whether this machine dropped what an error is about.
func (r *ICMPErrors) sentByThisNode(c *icmpError) bool {
	return slices.ContainsFunc(c.flows, func(f natFlow) bool {
		at, dropped := r.dropped.Get(f)
		return dropped && c.event.Time.Sub(at) <= madeWithin // or later: the packet is retransmitted, and the error is sent again
	})
}

// benign says why the packet that an error is about is no loss, "" if it is one.
func (r *ICMPErrors) benign(c *icmpError) string {
	forth, back := r.state.effects.history(c.about, false), r.state.effects.history(c.about, true)
	_, answered := back.after(c.event.Time)
	switch {
	case isAnswer(c.about, forth, back):
		return "the packet is itself an answer: its receiver is gone, or never asked"
	case answered:
		return "answers came after it"
	case isProbe(c.about) && len(r.probes[c.about.Src]) >= enoughProbed:
		return fmt.Sprintf("%v pings %d hosts or more that are not reached: a ping sweep", c.about.Src, len(r.probes[c.about.Src]))
	case mayFallBack(c.about.Dst):
		return "programs try IPv6 of the Internet first and IPv4 next"
	}
	return ""
}

// isAnswer reports whether a packet belongs to a flow that its destination began; forth and back are what was seen of
// its own direction and of the other. If that does not decide it, the ports do.
func isAnswer(p *packet.Packet, forth, back flowHistory) bool {
	switch {
	case p.Proto == "tcp" && p.HasFlag('S'):
		return p.HasFlag('.')
	case forth.first != 0 && back.first != 0:
		return back.first < forth.first
	case back.first != 0:
		return true
	}
	return p.IsICMP(0, 129) || p.Sport != 0 && p.Sport < firstEphemeral && p.Dport >= firstEphemeral
}

// firstEphemeral is the lowest port that Linux picks by itself.
const firstEphemeral = 32768
