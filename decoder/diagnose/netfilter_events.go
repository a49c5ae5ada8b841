// SPDX-License-Identifier: Apache-2.0

package diagnose

import "ktrace/decoder/event"

// netfilterKey is an event of netfilter and its packets: those of one flow in one namespace.
type netfilterKey struct {
	op    event.NetfilterOp
	netns uint32
	flow  natFlow
}

// maxNetfilterEvents bounds netfilterEvents.
const maxNetfilterEvents = 1 << 14

// learnNetfilter keeps an event of netfilter. Verdicts are part of drops.
func (st *State) learnNetfilter(e event.Event, n event.Netfilter) {
	if e.Packet == nil || n.Op == event.NetfilterVerdict || n.Op == event.NetfilterRejected {
		return
	}
	st.netfilterEvents.Put(event.OwnerOf(e), netfilterKeyOf(n.Op, e), n, 1)
}

// netfilterKeyOf is the key of the event that there may have been about an event's packet.
func netfilterKeyOf(op event.NetfilterOp, e event.Event) netfilterKey {
	return netfilterKey{op, e.Netns, natFlow{e.Packet.Proto, e.Packet.Flow()}}
}

// netfilterEvent returns the event about a packet, or about the first one of its flow; c is its conntrack entry, nil if
// it has none.
func (st *State) netfilterEvent(d netfilterKey, c *event.Conntrack) (event.Netfilter, bool) {
	n, ok := st.netfilterEvents.Get(d)
	if !ok && c != nil {
		d.flow.flow = c.Original
		n, ok = st.netfilterEvents.Get(d)
	}
	return n, ok
}

// dropRulesOf returns the rules that may have dropped a packet: only those of the hook that did, if it is known.
func (st *State) dropRulesOf(e event.Event, d event.Drop) (event.DropRules, bool) {
	b, ok := st.dropRules.Get(event.KeyOf(e))
	return b.At(d.Hook), ok
}

// noNATRule is the evidence that no NAT rule of a namespace matched a packet's flow; "" without such an event.
func (st *State) noNATRule(d netfilterKey, c *event.Conntrack) string {
	if _, ok := st.netfilterEvent(d, c); !ok {
		return ""
	}
	if c != nil {
		d.flow.flow = c.Original
	}
	hook := "prerouting"
	if st.owns(d.netns, d.flow.flow.Src.Addr()) {
		hook = "output"
	}
	return "netfilter traversed the NAT rules at hook " + hook + ", and none matched"
}
