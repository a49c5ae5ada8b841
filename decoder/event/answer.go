// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
)

// Answer is what a host sent to the sender of a packet that it did not deliver: an ICMP error, or a TCP reset.
type Answer struct {
	Name string     `json:"name"`          // tcp-reset, port-unreachable, fragmentation-needed, ...
	From netip.Addr `json:"from,omitzero"` // zero if it was not seen
	MTU  uint32     `json:"mtu,omitempty"` // that it says
}

// AnswerReset is the Name of one that is no ICMP error.
const AnswerReset = "tcp-reset"

// String is the answer, for people.
func (a Answer) String() string {
	if !a.From.IsValid() {
		return a.Name
	}
	if a.MTU != 0 {
		return fmt.Sprintf("%s (MTU %d) from %v", a.Name, a.MTU, a.From)
	}
	return fmt.Sprintf("%s from %v", a.Name, a.From)
}
