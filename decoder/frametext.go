package decoder

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// frameText says what a frame carries as tcpdump would, in brief.
func frameText(f Frame, p *Packet) string {
	if p == nil {
		return linkText(f)
	}
	family := map[string]string{"ipv4": "IP", "ipv6": "IP6"}[p.Family]
	text := fmt.Sprintf("%s %s > %s: %s", family, endText(p.Src, p.Sport), endText(p.Dst, p.Dport), p.text())
	if p.Tunnel != nil {
		text += fmt.Sprintf(", %v: %s", p.Tunnel, frameText(f, p.Tunnel.Packet))
	}
	return text
}

// endText is address.port, or the address of what has no ports.
func endText(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return fmt.Sprintf("%s.%d", a, port)
}

func linkText(f Frame) string {
	names := map[uint16]string{etherARP: "ARP", etherIPv4: "IP", etherIPv6: "IP6", 0x88cc: "LLDP", 0x8863: "PPPoE D", 0x8864: "PPPoE S"}
	name, ok := names[f.Protocol]
	switch {
	case !ok && f.Protocol < 1536: // a length, says IEEE 802.3
		name = "802.3"
	case !ok:
		name = fmt.Sprintf("ethertype 0x%04x", f.Protocol)
	}
	if at, protocol := network(f.Bytes); protocol == etherARP && f.Ethernet {
		if text := arpText(f.Bytes[at:]); text != "" {
			return text
		}
	}
	return fmt.Sprintf("%s, length %d", name, f.Length)
}

// arpText reads ARP for IPv4 (RFC 826).
func arpText(b []byte) string {
	const size = 28
	if len(b) < size || b[4] != 6 || b[5] != 4 {
		return ""
	}
	asks, has := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	if binary.BigEndian.Uint16(b[6:]) == 2 {
		return fmt.Sprintf("ARP, Reply %s is-at %02x:%02x:%02x:%02x:%02x:%02x", asks, b[8], b[9], b[10], b[11], b[12], b[13])
	}
	return fmt.Sprintf("ARP, Request who-has %s tell %s", has, asks)
}

// text is what follows the addresses.
func (p *Packet) text() string {
	length := max(int(p.Len)-p.data, 0)
	switch {
	case p.Fragment != 0:
		return fmt.Sprintf("%s, fragment at %d, length %d", p.Proto, p.Fragment, p.Len)
	case p.Proto == "tcp":
		return p.tcpText(length)
	case p.Proto == "udp":
		return fmt.Sprintf("UDP, length %d", length)
	case p.Proto == "icmp" || p.Proto == "icmpv6":
		return fmt.Sprintf("%s %s, length %d", strings.ToUpper(p.Proto), icmpName(p), length+icmpSize)
	}
	return fmt.Sprintf("%s, length %d", p.Proto, length)
}

func (p *Packet) tcpText(length int) string {
	text := fmt.Sprintf("Flags [%s]", p.Flags)
	if p.Flags == "" {
		text = "Flags [none]"
	}
	b := p.header()
	if len(b) < tcpMin {
		return fmt.Sprintf("%s, length %d", text, length)
	}
	seq := binary.BigEndian.Uint32(b[4:])
	switch {
	case length > 0:
		text += fmt.Sprintf(", seq %d:%d", seq, seq+uint32(length))
	case strings.ContainsAny(p.Flags, "SFR"):
		text += fmt.Sprintf(", seq %d", seq)
	}
	if strings.Contains(p.Flags, ".") {
		text += fmt.Sprintf(", ack %d", binary.BigEndian.Uint32(b[8:]))
	}
	return fmt.Sprintf("%s, win %d, length %d", text, binary.BigEndian.Uint16(b[14:]), length)
}

// icmpName names the messages that matter; others go by their numbers (RFC 792, RFC 4443).
func icmpName(p *Packet) string {
	names := map[[3]uint8]string{
		{4, 8, 0}: "echo request", {4, 0, 0}: "echo reply", {4, 3, 0}: "net unreachable", {4, 3, 1}: "host unreachable",
		{4, 3, 3}: "port unreachable", {4, 3, 4}: "need to frag", {4, 3, 13}: "admin prohibited", {4, 11, 0}: "time exceeded in-transit",
		{6, 128, 0}: "echo request", {6, 129, 0}: "echo reply", {6, 1, 0}: "no route", {6, 1, 1}: "admin prohibited",
		{6, 1, 3}: "address unreachable", {6, 1, 4}: "port unreachable", {6, 2, 0}: "packet too big", {6, 3, 0}: "time exceeded in-transit",
		{6, 133, 0}: "router solicitation", {6, 134, 0}: "router advertisement", {6, 135, 0}: "neighbor solicitation",
		{6, 136, 0}: "neighbor advertisement",
	}
	family := uint8(4)
	if p.Proto == "icmpv6" {
		family = 6
	}
	if name, ok := names[[3]uint8{family, p.ICMPType, p.ICMPCode}]; ok {
		return name
	}
	return fmt.Sprintf("type %d code %d", p.ICMPType, p.ICMPCode)
}
