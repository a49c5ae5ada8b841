// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// standing is what a query is taken for, and so what may be concluded from it.
type standing int

const (
	noQuery standing = iota
	// looksLike is a well-formed query to a port where nothing else says that a server is. It is a query if an answer
	// comes, or if it turns out to be one to a server's port before or after translation; else it was something else.
	looksLike
	asked
)

// Ports of protocols that have the messages of DNS but other rules: who is asked need not answer (RFC 1002, 6762, 4795).
const (
	portNetBIOS = 137
	portMDNS    = 5353
	portLLMNR   = 5355
)

// recognize says what a packet that looks like a query is.
func (s *Stage) recognize(e event.Event, ct *event.Conntrack, msg message) standing {
	p := e.Packet
	switch {
	case p.Dst.IsMulticast() || p.Dst == limitedBroadcast() || toAll(e):
		return noQuery // asked of all at once, so that silence is no failure
	case !msg.plain:
		return noQuery
	case s.asksServer(e, ct):
		return asked
	case p.Dport == portNetBIOS || p.Dport == portLLMNR || p.Dport == portMDNS && p.Sport == portMDNS:
		return noQuery
	}
	if _, serves := s.servers.Get(p.Destination()); serves {
		return asked
	}
	return looksLike
}

// asksServer reports whether the packet goes to a port where servers are, or did so before it was translated.
func (s *Stage) asksServer(e event.Event, ct *event.Conntrack) bool {
	return slices.Contains(s.o.Ports, e.Packet.Dport) || ct != nil && slices.Contains(s.o.Ports, ct.Original.Dst.Port())
}

// toAll reports whether the packet's frame was for all machines of its link, or a group of them.
func toAll(e event.Event) bool {
	h, ok := e.Body.(event.Hop)
	return ok && h.ToAll
}

func limitedBroadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }
