// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"

	"ktrace/decoder/packet"
)

// KindMTU is a packet that was too large for its path; a stage makes it.
const KindMTU Kind = "mtu"

// MTU is a packet that was too big for its way.
type MTU struct {
	Length   uint32  `json:"length"` // bytes, from the network header on
	Limit    uint32  `json:"limit"`  // bytes, 0 if it is not known
	Device   string  `json:"device,omitempty"`
	ICMPSent bool    `json:"icmp_sent"` // an ICMP error went to the sender
	Site     string  `json:"site"`      // forward, output, veth, bridge, vxlan, ...; or the function
	Silent   bool    `json:"silent,omitempty"`
	Answer   *Answer `json:"answer,omitempty"`
	Count    uint64  `json:"count"` // packets of the flow that this one stands for

	Flow packet.FlowTuple `json:"-"` // as Event.Packet
}

// Kind implements Body.
func (MTU) Kind() Kind { return KindMTU }

// Summary implements Body.
func (m MTU) Summary() string {
	return fmt.Sprintf("%d bytes at %s, which takes %d", m.Length, m.Device, m.Limit)
}

// Columns implements Tabular.
func (MTU) Columns() []Column {
	return []Column{{"LENGTH", 6}, {"LIMIT", 6}, {"SITE", 8}, {"DEVICE", 22}, {"ICMP", 24}, {"FLOW", 0}}
}

// Row implements Tabular.
func (m MTU) Row(Event) []string {
	answered := "none"
	if m.Answer != nil {
		answered = m.Answer.String()
	}
	return []string{fmt.Sprint(m.Length), fmt.Sprint(m.Limit), m.Site, m.Device, answered, fmt.Sprintf("%v, %d times", m.Flow, m.Count)}
}
