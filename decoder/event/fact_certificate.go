package event

import "net/netip"

// Certificates are those that a server has, for whoever asks for them by a handshake of TLS: where they are encrypted,
// nothing else tells. Before the answer there is one with neither chain nor failure, so that the handshake is known.
type Certificates struct {
	Netns  uint32         `json:"netns"` // it was asked from there
	Server netip.AddrPort `json:"server"`
	Name   string         `json:"name,omitempty"` // that it was asked for
	Port   uint16         `json:"port"`           // that it was asked from
	Chain  [][]byte       `json:"chain,omitempty"`
	Failed string         `json:"failed,omitempty"` // why there is no chain
}
