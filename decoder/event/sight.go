// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/packet"
)

// Sight is a packet at a place.
type Sight struct {
	Time      time.Time        `json:"time"`
	Netns     uint32           `json:"netns"`
	Iface     string           `json:"iface,omitempty"`
	Direction Direction        `json:"direction,omitempty"`
	Flow      packet.FlowTuple `json:"flow"`
	Conntrack *Conntrack       `json:"conntrack,omitempty"`
	Answer    bool             `json:"answer,omitempty"`  // it is the answer, not the query
	Carrier   *Carrier         `json:"carrier,omitempty"` // the tunnel's packet that it was in
}

// Carrier is a packet of a tunnel as those that it carries see it.
type Carrier struct {
	Kind string           `json:"kind"` // as of Tunnel
	VNI  uint32           `json:"vni,omitempty"`
	Flow packet.FlowTuple `json:"flow"`
}

// Translated reports whether the packet was, when it was seen, addressed to what conntrack made of its destination.
func (s Sight) Translated() bool {
	return s.Conntrack.DNAT() && s.Flow == s.Conntrack.Reply.Reverse()
}

// String says where, and what the packet looked like there.
func (s Sight) String() string {
	where := cmp.Or(s.Iface, "no device")
	if s.Direction != "" {
		where += " " + string(s.Direction)
	}
	translated := ""
	switch {
	case s.Answer:
	case s.Translated():
		translated = ", translated"
	case s.Conntrack != nil:
		translated = ", not translated"
	}
	if c := s.Carrier; c != nil {
		translated = fmt.Sprintf(", in %v, %v", &packet.Tunnel{Kind: c.Kind, VNI: c.VNI}, c.Flow)
	}
	return fmt.Sprintf("%s %s in netns %d: %v%s", s.Time.UTC().Format("15:04:05.000000"), where, s.Netns, s.Flow, translated)
}

// Loss is where and why the kernel threw a packet away.
type Loss struct {
	Sight
	Reason   string `json:"reason"`
	Function string `json:"location"`
	Event    Event  `json:"-"` // of the drop
}

// ICMP is an error message about a packet.
type ICMP struct {
	Sight            // where it was last seen
	From  netip.Addr `json:"from"`
	Type  uint8      `json:"icmp_type"`
	Code  uint8      `json:"icmp_code"`
	Name  string     `json:"name"`
}

// SightOf is where the event's packet is.
func SightOf(e Event, ct *Conntrack, in *Carrier) Sight {
	return Sight{
		Time: e.Time, Netns: e.Netns, Iface: e.Iface, Direction: e.Direction, Flow: e.Packet.Flow(), Conntrack: ct, Carrier: in,
	}
}

// Carried takes the packet that a tunnel's carries out of it, and returns what is known of the tunnel. The packet's
// addresses are what they were before; conntrack's entry is the tunnel's and says nothing of them.
func Carried(e Event, ct *Conntrack) (Event, *Conntrack, *Carrier) {
	t := e.Packet.Tunnel
	if t == nil {
		return e, ct, nil
	}
	in := &Carrier{Kind: t.Kind, VNI: t.VNI, Flow: e.Packet.Flow()}
	e.Packet = e.Packet.Innermost()
	return e, nil, in
}
