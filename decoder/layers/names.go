// SPDX-License-Identifier: Apache-2.0

package layers

import (
	"fmt"
	"strings"

	"github.com/google/gopacket/layers"
)

// EtherType is the name of what a frame carries (IEEE 802 numbers), or the number.
func EtherType(t uint16) string {
	const firstType = 1536 // below it is a length, says IEEE 802.3
	if t < firstType {
		return "802.3"
	}
	if name := layers.EthernetType(t).String(); name != "" && !strings.HasPrefix(name, unknown) {
		return name
	}
	return fmt.Sprintf("ethertype 0x%04x", t)
}

// Protocol is the name of what an IP packet carries (IANA, protocol numbers), or the number.
func Protocol(n uint8) string {
	if name := layers.IPProtocol(n).String(); !strings.HasPrefix(name, unknown) {
		return strings.TrimPrefix(name, "IPSec")
	}
	return fmt.Sprintf("protocol %d", n)
}
