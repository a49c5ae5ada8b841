// SPDX-License-Identifier: Apache-2.0

package event

import "net/netip"

// Certificates are those that a server sends to a TLS handshake of ktrace's own: TLS 1.3 encrypts them on the wire.
// Before the answer there is one with neither chain nor failure, which says that the handshake was begun.
type Certificates struct {
	Netns  uint32         `json:"netns"` // it was asked from there
	Server netip.AddrPort `json:"server"`
	Name   string         `json:"name,omitempty"` // that it was asked for
	Port   uint16         `json:"port"`           // that it was asked from
	Chain  [][]byte       `json:"chain,omitempty"`
	Failed string         `json:"failed,omitempty"` // why there is no chain
}
