package diagnose

import (
	"ktrace/decoder"
)

// decision is what netfilter said itself, and of which packets: those of one flow in one namespace.
type decision struct {
	op    decoder.NetfilterOp
	netns uint32
	flow  natFlow
}

// maxDecisions is how many are remembered; when there are more, all are forgotten.
const maxDecisions = 1 << 14

// decided keeps what netfilter said of a packet. What it did with the packet is in the drop.
func (k *Facts) decided(e decoder.Event, n decoder.Netfilter) {
	if e.Packet == nil || n.Op == decoder.NetfilterVerdict || n.Op == decoder.NetfilterRejected {
		return
	}
	if len(k.decisions) >= maxDecisions {
		clear(k.decisions)
	}
	k.decisions[about(n.Op, e)] = n
}

// about is the decision that there may have been about an event's packet.
func about(op decoder.NetfilterOp, e decoder.Event) decision {
	return decision{op, e.Netns, natFlow{e.Packet.Proto, e.Packet.Flow()}}
}

// said returns what netfilter said of a packet, or of the first of its flow; c is its entry, nil if it has none.
func (k *Facts) said(d decision, c *decoder.Conntrack) (decoder.Netfilter, bool) {
	n, ok := k.decisions[d]
	if !ok && c != nil {
		d.flow.flow = c.Original
		n, ok = k.decisions[d]
	}
	return n, ok
}

// blame says which rules may have dropped a packet, and of these only those of the hook that did, if that is known.
func (k *Facts) blame(e decoder.Event, d decoder.Drop) (decoder.Blame, bool) {
	b, ok := k.blames.Get(decoder.Ask(e))
	return b.At(d.Hook), ok
}

// unmatched is the evidence that the NAT rules of a namespace had nothing for a packet's flow; "" if nobody said so.
func (k *Facts) unmatched(d decision, c *decoder.Conntrack) string {
	if _, ok := k.said(d, c); !ok {
		return ""
	}
	if c != nil {
		d.flow.flow = c.Original
	}
	hook := "prerouting"
	if k.owns(d.netns, d.flow.flow.Src.Addr()) {
		hook = "output"
	}
	return "netfilter asked the NAT rules at hook " + hook + ", and none was for it"
}
