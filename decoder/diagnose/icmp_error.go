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
// wants hops of ICMP errors with the packets that they quote, drops, and the errors that sockets report; state must observe
// events before it.
type ICMPErrors struct {
	state    *State
	about    bounded.Map[natFlow, *icmpError] // the latest about each flow
	dropped  bounded.Map[natFlow, time.Time]  // flows that this machine dropped a packet of, and when the latest
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
	last  time.Time      // when the latest error of its connection was seen
	gap   time.Duration  // between the latest two
	count uint64         // of an established connection, errors; else 1
	got   string         // what the application got of it, "" if that is not known
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
	// recoversWithin is how long an error waits for answers that show that it did no harm: those of a SYN that is sent again
	// come after a second.
	recoversWithin = 3 * time.Second
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
	case event.Sock:
		if b.Op == event.SockError {
			r.outcome(e, b.Error)
		}
	case event.Flow:
		if b.ICMP != nil {
			r.outcome(e, b.Error)
		}
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
			r.about.Put(flow, c)
		}
		if c.event.Pod.String() == "" {
			c.event.Pod, c.event.Peer, c.event.ToPod = e.Pod, e.Peer, e.ToPod
		}
		return
	}
	if c, same := r.about.Get(flowOf(about)); same && r.established(about) {
		c.gap, c.last = e.Time.Sub(c.last), e.Time
		c.count++
		r.journeys.Put(e.Journey, c)
		return
	}
	c := &icmpError{event: e, about: about, flows: []natFlow{flowOf(about)}, last: e.Time, count: 1}
	r.journeys.Put(e.Journey, c)
	r.about.Put(flowOf(about), c)
	r.pending = append(r.pending, c)
	if isProbe(about) {
		r.probe(about)
	}
}

// probe notes whom a client pings.
func (r *ICMPErrors) probe(about *packet.Packet) {
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

// established reports whether an error is about a connection that was answered. TCP takes no such error for its end (RFC
// 1122, 4.2.3.9): it sends again, which the router answers again, until that succeeds or takes too long. Of what some routers
// quote the flags are missing.
func (r *ICMPErrors) established(about *packet.Packet) bool {
	if about.Proto != "tcp" || about.HasFlag('S') {
		return false
	}
	return about.Flags != "" || r.state.effects.history(about, true).first != 0
}

// outcome takes in the error that an application gets of a flow.
func (r *ICMPErrors) outcome(e event.Event, errno string) {
	c, ok := r.about.Get(flowOf(e.Packet))
	if !ok || errno == "" || c.got != "" {
		return
	}
	call := "a call on the socket"
	if packet.IsSYN(c.about) {
		call = "connect"
	}
	c.got = fmt.Sprintf("%s %s%s from %v ended with %s", e.Time.UTC().Format("15:04:05.000000"), call, by(e), e.Packet.Source(), errno)
}

// due is when an error is judged.
func (r *ICMPErrors) due(c *icmpError) time.Time {
	switch {
	case isProbe(c.about):
		return c.event.Time.Add(probedWithin)
	case c.got != "":
		return c.event.Time.Add(madeWithin)
	case r.established(c.about): // it sends again after twice the time
		return c.last.Add(2*c.gap + recoversWithin)
	}
	return c.event.Time.Add(recoversWithin)
}

// isProbe reports whether no program needs an answer to a packet: a ping.
func isProbe(p *packet.Packet) bool { return p.IsICMP(8, 128) }

// Flush implements stage.Rule.
func (r *ICMPErrors) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	r.pending = slices.DeleteFunc(r.pending, func(c *icmpError) bool {
		due := r.due(c)
		if !final && now.Before(due) {
			return false
		}
		for _, flow := range c.flows {
			if latest, _ := r.about.Get(flow); latest == c {
				r.about.Delete(flow)
			}
		}
		if f, ok := r.judge(c, !now.Before(due)); ok {
			f.Time = now
			found = append(found, f)
		}
		return true
	})
	return found
}

// judge concludes from an error. over says that its connection had the time to be retried.
func (r *ICMPErrors) judge(c *icmpError, over bool) (event.Finding, bool) {
	if r.sentByThisNode(c) {
		return event.Finding{}, false
	}
	f, ok := r.finding(c)
	if !ok {
		return f, false
	}
	e, p, about := c.event, c.event.Packet, c.about
	f = f.Of(e)
	f.First, f.Last, f.Count = e.Time, c.last, c.count
	place := event.At(e)
	if place != "" {
		place = ", first seen" + place
	}
	f.Evidence = append([]string{fmt.Sprintf("%s ICMP %s from %v about %s %v%s", e.Time.UTC().Format("15:04:05.000000"), p.ICMPName(), p.Src, about.Proto, about.Flow(), place)}, f.Evidence...)
	if c.got != "" {
		f.Evidence = append(f.Evidence, c.got)
	}
	if last, works := r.state.effects.history(c.about, true).after(e.Time); works {
		f.Over = last
	}
	if why := r.benign(c, over); why != "" && f.Severity != event.Info {
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

// benign says why the packet that an error is about is no loss, "" if it is one. over is as in judge.
func (r *ICMPErrors) benign(c *icmpError, over bool) string {
	forth, back := r.state.effects.history(c.about, false), r.state.effects.history(c.about, true)
	_, answered := back.after(c.event.Time)
	switch {
	case isAnswer(c.about, forth, back):
		return "the packet is itself an answer: its receiver is gone, or never asked"
	case answered:
		return "answers came after it"
	case c.got == "" && r.established(c.about) && (over || c.count == 1):
		return "the connection was established, and nothing that it sent later was answered so"
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
