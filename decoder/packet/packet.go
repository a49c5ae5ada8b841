// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ProtoName is the protocol's name, or its number (IANA, protocol numbers).
func ProtoName(p uint8) string {
	switch p {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// FamilyName is the record's 4 or 6 as Packet says it.
func FamilyName(f uint8) string {
	switch f {
	case 4:
		return "ipv4"
	case 6:
		return "ipv6"
	}
	return fmt.Sprintf("unknown(%#x)", f)
}

// Reverse is the flow of the answers.
func (f FlowTuple) Reverse() FlowTuple { return FlowTuple{Src: f.Dst, Dst: f.Src} }

// String is "src > dst".
func (f FlowTuple) String() string { return FormatAddrPort(f.Src) + " > " + FormatAddrPort(f.Dst) }

// FormatAddrPort is one end of a flow, for people: without a port where the protocol has none.
func FormatAddrPort(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// Flow is where the packet came from and where it was going to.
func (p *Packet) Flow() FlowTuple { return FlowTuple{Src: p.Source(), Dst: p.Destination()} }

// Transport returns what the transport header carries, as far as it was taken. Behind the header of an ICMP error
// that is the head of the packet which the error is about.
func (p *Packet) Transport() []byte {
	if int(p.DataAt) > len(p.Bytes) {
		return nil
	}
	return p.Bytes[p.DataAt:]
}

// Payload is how many bytes the transport carried, however many of them were taken; 0 if its header is not known.
func (p *Packet) Payload() uint32 {
	if p.DataAt == 0 || uint32(p.DataAt) > p.Len {
		return 0
	}
	return p.Len - uint32(p.DataAt)
}

// ChecksumMissing reports whether a UDP packet says that it has no checksum. IPv6 forbids that but to tunnels (RFC 6936).
func (p *Packet) ChecksumMissing() bool {
	h := p.TransportHeader()
	return p.Proto == "udp" && len(h) >= udpSize && h[6] == 0 && h[7] == 0
}

// IsICMP reports whether the packet is ICMP of the type, numbered as ICMP for IPv4 or as ICMPv6 says (RFC 792, 4443).
func (p *Packet) IsICMP(v4, v6 uint8) bool {
	return p.Proto == "icmp" && p.ICMPType == v4 || p.Proto == "icmpv6" && p.ICMPType == v6
}

// HasFlag reports whether a TCP packet has a flag, by the letter that Flags writes for it.
func (p *Packet) HasFlag(letter byte) bool { return strings.IndexByte(p.Flags, letter) >= 0 }

// String is the packet in a line, with what it carries.
func (p *Packet) String() string {
	s := fmt.Sprintf("%s %v len %d", p.Proto, p.Flow(), p.Len)
	switch {
	case p.Flags != "":
		s += " [" + p.Flags + "]"
	case p.IsICMPError():
		s += " " + p.ICMPName()
	case p.Tunnel != nil:
		s += fmt.Sprintf(", %v that carries %v", p.Tunnel, p.Tunnel.Packet)
	}
	return s
}

// FlagsText writes TCP flags as tcpdump does.
func FlagsText(bits uint8) string {
	switch bits { // nearly all packets have one of these, and need no memory
	case 0x10:
		return "."
	case 0x18:
		return "P."
	case 0x02:
		return "S"
	case 0x12:
		return "S."
	case 0x11:
		return "F."
	}
	const letters = "FSRP.UEW" // FIN SYN RST PSH ACK URG ECE CWR, from the lowest bit
	var b strings.Builder
	for i, l := range letters {
		if bits&(1<<i) != 0 {
			b.WriteRune(l)
		}
	}
	return b.String()
}

// Packet is the headers of a packet as they were where it was seen.
type Packet struct {
	Family string     `json:"family,omitempty"` // ipv4, ipv6
	Proto  string     `json:"proto,omitempty"`  // udp, tcp, icmp, icmpv6, sctp or the number
	Src    netip.Addr `json:"src"`
	Sport  uint16     `json:"sport,omitempty"` // valid iff Proto has ports

	TransportAt, DataAt uint16 `json:"-"` // where in Bytes the transport's header begins and ends

	Dst   netip.Addr `json:"dst"`
	Dport uint16     `json:"dport,omitempty"`
	Len   uint32     `json:"len"` // bytes, from the network header on
	TTL   uint8      `json:"ttl,omitempty"`
	More  bool       `json:"more_fragments,omitempty"`

	Flags string `json:"flags,omitempty"` // TCP flags as tcpdump writes them
	Bytes []byte `json:"-"`               // what the probe took, from the network header on

	ID       uint32 `json:"id,omitempty"`       // identification: of IPv4, and of fragments
	Fragment uint16 `json:"fragment,omitempty"` // offset, bytes; of a later fragment no ports are known
	ICMPType uint8  `json:"icmp_type,omitempty"`
	ICMPCode uint8  `json:"icmp_code,omitempty"`

	Tunnel *Tunnel `json:"tunnel,omitempty"` // what it carries between nodes; nil if it is no tunnel's
}

// Source returns where the packet came from.
func (p *Packet) Source() netip.AddrPort { return netip.AddrPortFrom(p.Src, p.Sport) }

// Destination returns where the packet was going to.
func (p *Packet) Destination() netip.AddrPort { return netip.AddrPortFrom(p.Dst, p.Dport) }

// FlagBits are the flags that tcpFlags wrote.
func FlagBits(text string) (bits uint8) {
	for bit := range 8 {
		if strings.Contains(text, FlagsText(1<<bit)) {
			bits |= 1 << bit
		}
	}
	return bits
}

// OfFlow is a packet of which only the ends are known.
func OfFlow(proto string, f FlowTuple, flags string) *Packet {
	p := &Packet{
		Family: "ipv6", Proto: proto, Flags: flags,
		Src: f.Src.Addr(), Sport: f.Src.Port(), Dst: f.Dst.Addr(), Dport: f.Dst.Port(),
	}
	if p.Src.Is4() {
		p.Family = "ipv4"
	}
	return p
}

// ProtoNumber is the number that protoName names.
func ProtoNumber(name string) uint8 {
	switch name {
	case "icmp":
		return 1
	case "tcp":
		return 6
	case "udp":
		return 17
	case "icmpv6":
		return 58
	case "sctp":
		return 132
	}
	n, _ := strconv.ParseUint(name, 10, 8) // protoName wrote it
	return uint8(n)
}
