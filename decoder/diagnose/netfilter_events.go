package diagnose

import "ktrace/decoder/event"

// netfilterKey is what netfilter said itself, and of which packets: those of one flow in one namespace.
type netfilterKey struct {
	op    event.NetfilterOp
	netns uint32
	flow  natFlow
}

// maxNetfilterEvents is how many are remembered; when there are more, all are forgotten.
const maxNetfilterEvents = 1 << 14

// learnNetfilter keeps what netfilter said of a packet. What it did with the packet is in the drop.
func (st *State) learnNetfilter(e event.Event, n event.Netfilter) {
	if e.Packet == nil || n.Op == event.NetfilterVerdict || n.Op == event.NetfilterRejected {
		return
	}
	if len(st.netfilterEvents) >= maxNetfilterEvents {
		clear(st.netfilterEvents)
	}
	st.netfilterEvents[netfilterKeyOf(n.Op, e)] = n
}

// netfilterKeyOf is the decision that there may have been about an event's packet.
func netfilterKeyOf(op event.NetfilterOp, e event.Event) netfilterKey {
	return netfilterKey{op, e.Netns, natFlow{e.Packet.Proto, e.Packet.Flow()}}
}

// netfilterEvent returns what netfilter said of a packet, or of the first of its flow; c is its entry, nil if it has none.
func (st *State) netfilterEvent(d netfilterKey, c *event.Conntrack) (event.Netfilter, bool) {
	n, ok := st.netfilterEvents[d]
	if !ok && c != nil {
		d.flow.flow = c.Original
		n, ok = st.netfilterEvents[d]
	}
	return n, ok
}

// dropRulesOf says which rules may have dropped a packet, and of these only those of the hook that did, if that is known.
func (st *State) dropRulesOf(e event.Event, d event.Drop) (event.Blame, bool) {
	b, ok := st.dropRules.Get(event.Ask(e))
	return b.At(d.Hook), ok
}

// noNATRule is the evidence that the NAT rules of a namespace had nothing for a packet's flow; "" if nobody said so.
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
	return "netfilter asked the NAT rules at hook " + hook + ", and none was for it"
}
