// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
)

// Types of ICMP (RFC 792, RFC 4443).
const (
	ICMPUnreachable, icmpTimeExceeded                  = 3, 11
	ICMPRedirect, ICMPv6Redirect, icmpParameter        = 5, 137, 12
	icmpSourceQuench                                   = 4
	ICMPv6Unreachable, icmp6TooBig, icmp6TimeExceeded  = 1, 2, 3
	icmpFragmentationNeeded, icmpHeader, nextHopMTUAt  = 4, 8, 6
	icmpEchoReply, icmpEcho, icmp6Echo, icmp6EchoReply = 0, 8, 128, 129
)

// IsICMPError reports whether the packet carries the head of another, which did not arrive.
func (p *Packet) IsICMPError() bool {
	switch p.Proto {
	case "icmp":
		return IsICMPError(ICMP, p.ICMPType)
	case "icmpv6":
		return IsICMPError(ICMPv6, p.ICMPType)
	}
	return false
}

// Quoted returns the packet that an ICMP error is about, as far as the error quotes it; nil if it is none.
func (p *Packet) Quoted() *Packet {
	if !p.IsICMPError() {
		return nil
	}
	about := ParseIP(p.Transport())
	about.Decapsulate()
	return about
}

// TooBig returns the length that a packet may have had, if the packet is the ICMP error that says so.
func (p *Packet) TooBig() (mtu uint32, ok bool) {
	head := int(p.DataAt) - icmpHeader
	if head < 0 || int(p.DataAt) > len(p.Bytes) {
		return 0, false
	}
	b := p.Bytes[head:p.DataAt]
	switch {
	case p.Proto == "icmp" && p.ICMPType == ICMPUnreachable && p.ICMPCode == icmpFragmentationNeeded:
		return uint32(binary.BigEndian.Uint16(b[nextHopMTUAt:])), true
	case p.Proto == "icmpv6" && p.ICMPType == icmp6TooBig:
		return binary.BigEndian.Uint32(b[4:]), true
	}
	return 0, false
}

// EchoID returns the identifier of an ICMP echo request or reply, by which a ping knows its own; 0 if it is none.
func (p *Packet) EchoID() uint16 {
	const at = 4
	head := int(p.DataAt) - icmpHeader
	if head < 0 || int(p.DataAt) > len(p.Bytes) || !p.IsICMP(icmpEcho, icmp6Echo) && !p.IsICMP(icmpEchoReply, icmp6EchoReply) {
		return 0
	}
	return binary.BigEndian.Uint16(p.Bytes[head+at:])
}

// icmpNames are the codes of destination unreachable (RFC 792, RFC 1812, RFC 4443 section 3.1), by the family's type.
var icmpNames = map[[2]uint8]string{
	{4, 0}: "net-unreachable", {4, 1}: "host-unreachable", {4, 2}: "protocol-unreachable", {4, 3}: "port-unreachable",
	{4, 4}: "fragmentation-needed", {4, 5}: "source-route-failed", {4, 9}: "net-prohibited", {4, 10}: "host-prohibited",
	{4, 13}: "admin-prohibited",
	{6, 0}:  "no-route", {6, 1}: "admin-prohibited", {6, 2}: "beyond-scope", {6, 3}: "address-unreachable",
	{6, 4}: "port-unreachable", {6, 5}: "policy-failed", {6, 6}: "route-rejected",
}

// ICMPName names what an ICMP error says.
func (p *Packet) ICMPName() string {
	family := uint8(4)
	if p.Proto == "icmpv6" {
		family = 6
	}
	switch {
	case p.IsICMP(icmpTimeExceeded, icmp6TimeExceeded):
		return "time-exceeded"
	case p.Proto == "icmp" && p.ICMPType == ICMPRedirect:
		return "redirect"
	case p.Proto == "icmp" && p.ICMPType == icmpSourceQuench:
		return "source-quench"
	case p.Proto == "icmpv6" && p.ICMPType == icmp6TooBig:
		return "packet-too-big"
	case p.IsICMP(ICMPUnreachable, ICMPv6Unreachable):
		if name, ok := icmpNames[[2]uint8{family, p.ICMPCode}]; ok {
			return name
		}
	}
	return fmt.Sprintf("unknown(%#x)", uint16(p.ICMPType)<<8|uint16(p.ICMPCode))
}
