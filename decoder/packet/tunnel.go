// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
	"net"
)

// Tunnel is what a packet between nodes carries: a packet of pods.
type Tunnel struct {
	Kind   string  `json:"kind"`          // vxlan, geneve, ipip, gre; udp: another one over UDP
	VNI    uint32  `json:"vni,omitempty"` // network of VXLAN or Geneve
	Packet *Packet `json:"packet"`

	MAC string `json:"-"` // that the frame which is carried is for, "" if none is
}

// String is the kind, and the network if there is one.
func (t *Tunnel) String() string {
	if t.VNI != 0 {
		return fmt.Sprintf("%s %d", t.Kind, t.VNI)
	}
	return t.Kind
}

// Innermost returns the packet that is carried, or the packet itself if it carries none.
func (p *Packet) Innermost() *Packet {
	for p != nil && p.Tunnel != nil {
		p = p.Tunnel.Packet
	}
	return p
}

// Ports of tunnels (IANA; 8472 is Linux' own for VXLAN, from before there was a number).
const (
	PortVXLAN      = 4789
	PortVXLANLinux = 8472
	PortGeneve     = 6081
)

const (
	tunnelHeader     = 8 // of VXLAN (RFC 7348) and, without options, of Geneve (RFC 8926)
	vxlanHasVNI      = 0x08
	geneveVersion    = 0xc0
	etherBridged     = 0x6558
	protoIPv4        = "4"
	protoIPv6        = "41"
	protoGRE         = "47"
	macSize          = 6
	maxTunnels       = 4 // in one another
	geneveOptionUnit = 4
)

// Decapsulate reads what the packet carries if by its port or protocol it is a tunnel's.
func (p *Packet) Decapsulate() { p.decapsulate(0) }

// decapsulate is Decapsulate of a packet that is so deep in others.
func (p *Packet) decapsulate(depth int) {
	at := 0
	switch {
	case p == nil || p.Fragment != 0 || depth >= maxTunnels:
		return
	case p.Proto == protoIPv4 || p.Proto == protoIPv6:
		at = int(p.DataAt)
	case p.Proto == "udp" && (p.Dport == PortVXLAN || p.Dport == PortVXLANLinux || p.Dport == PortGeneve):
		at = p.innerOffset()
	}
	p.decodeInner(at, depth)
}

// innerOffset is where the IP packet in the frame that VXLAN or Geneve carries begins; 0 if there is none.
func (p *Packet) innerOffset() int {
	b := p.Transport()
	if len(b) < tunnelHeader {
		return 0
	}
	at := tunnelHeader + EtherSize
	switch {
	case binary.BigEndian.Uint16(b[2:]) == etherBridged && b[0]&geneveVersion == 0:
		at += int(b[0]) * geneveOptionUnit
	case b[0]&vxlanHasVNI == 0:
		return 0
	}
	if len(b) < at {
		return 0
	}
	if t := binary.BigEndian.Uint16(b[at-2:]); t != EtherIPv4 && t != EtherIPv6 {
		return 0
	}
	return int(p.DataAt) + at
}

// DecodeInner reads the packet that begins at an offset of the bytes; 0 is none.
func (p *Packet) DecodeInner(at int) { p.decodeInner(at, 0) }

func (p *Packet) decodeInner(at, depth int) {
	if at <= 0 || at >= len(p.Bytes) {
		return
	}
	inner := Parse(p.Bytes[at:], p.Len-min(p.Len, uint32(at)))
	if inner == nil {
		return
	}
	t := &Tunnel{Kind: "udp", Packet: inner}
	h := p.Transport()
	switch {
	case p.Proto == protoIPv4 || p.Proto == protoIPv6:
		t.Kind = "ipip"
	case p.Proto == protoGRE:
		t.Kind = "gre"
	case len(h) < tunnelHeader:
	case binary.BigEndian.Uint16(h[2:]) == etherBridged && h[0]&geneveVersion == 0:
		t.Kind, t.VNI, t.MAC = "geneve", binary.BigEndian.Uint32(h[4:])>>8, p.carriedTo(at)
	case h[0]&vxlanHasVNI != 0:
		t.Kind, t.VNI, t.MAC = "vxlan", binary.BigEndian.Uint32(h[4:])>>8, p.carriedTo(at)
	}
	p.Tunnel = t
	inner.decapsulate(depth + 1)
}

// carriedTo is the MAC address that the frame is for whose packet begins at an offset of the bytes.
func (p *Packet) carriedTo(at int) string {
	if at < int(p.DataAt)+EtherSize {
		return ""
	}
	return net.HardwareAddr(p.Bytes[at-EtherSize:][:macSize]).String()
}
