// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"ktrace/decoder/layers"
	"ktrace/decoder/packet"
)

// frameText says what a frame carries as tcpdump would, in brief.
func frameText(f Frame, p *packet.Packet) string {
	if p == nil {
		return linkText(f)
	}
	family := map[string]string{"ipv4": "IP", "ipv6": "IP6"}[p.Family]
	text := fmt.Sprintf("%s %s > %s: %s", family, endText(p.Src, p.Sport), endText(p.Dst, p.Dport), packetText(p))
	if p.Tunnel != nil {
		text += fmt.Sprintf(", %v: %s", p.Tunnel, frameText(f, p.Tunnel.Packet))
	}
	return text
}

// icmpSize is the size of the header of ICMP, bytes.
const icmpSize = 8

// endText is address.port, or the address of what has no ports.
func endText(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return fmt.Sprintf("%s.%d", a, port)
}

// linkText says what a frame carries that is no IP.
func linkText(f Frame) string {
	at, protocol := f.network()
	if text := layers.Text(protocol, f.Bytes[at:]); text != "" {
		return text
	}
	return fmt.Sprintf("%s, length %d", layers.EtherType(protocol), f.Length)
}

// network is where the network header begins, and its EtherType.
func (f Frame) network() (at int, protocol uint16) {
	if !f.Ethernet {
		return 0, f.Protocol
	}
	return packet.NetworkHeader(f.Bytes)
}

// Lines has a line for each layer of the frame with its fields, from the network header on.
func (f Frame) Lines() []string {
	at, protocol := f.network()
	return layers.Lines(protocol, f.Bytes[at:])
}

// packetText is what follows the addresses.
func packetText(p *packet.Packet) string {
	length := p.Payload()
	switch {
	case p.Fragment != 0:
		return fmt.Sprintf("%s, fragment at %d, length %d", p.Proto, p.Fragment, p.Len)
	case p.Proto == "tcp":
		return tcpText(p, length)
	case p.Proto == "udp":
		return withLayers(p, fmt.Sprintf("UDP, length %d", length))
	case p.Proto == "icmp":
		return fmt.Sprintf("ICMP %s, length %d", icmpName(p), length+icmpSize)
	case p.Proto == "icmpv6":
		return fmt.Sprintf("ICMPV6 %s, length %d", cmp.Or(layersText(p), icmpName(p)), length+icmpSize)
	}
	return withLayers(p, fmt.Sprintf("%s, length %d", protocolText(p.Proto), length))
}

// withLayers adds to a text what is in a packet beyond its headers, if that is known and not said of a tunnel anyway.
func withLayers(p *packet.Packet, text string) string {
	if more := layersText(p); more != "" && p.Tunnel == nil {
		return text + ", " + more
	}
	return text
}

// layersText says what is in a packet that its headers do not.
func layersText(p *packet.Packet) string {
	if p.Family == "ipv6" {
		return layers.Text(packet.EtherIPv6, p.Bytes)
	}
	return layers.Text(packet.EtherIPv4, p.Bytes)
}

// protocolText names a protocol that Packet.Proto has the number of.
func protocolText(proto string) string {
	n, err := strconv.ParseUint(proto, 10, 8)
	if err != nil {
		return strings.ToUpper(proto)
	}
	return layers.Protocol(uint8(n))
}

func tcpText(p *packet.Packet, length uint32) string {
	text := fmt.Sprintf("Flags [%s]", p.Flags)
	if p.Flags == "" {
		text = "Flags [none]"
	}
	s, ok := p.Segment()
	if !ok {
		return fmt.Sprintf("%s, length %d", text, length)
	}
	switch {
	case length > 0:
		text += fmt.Sprintf(", seq %d:%d", s.Seq, s.Seq+length)
	case strings.ContainsAny(p.Flags, "SFR"):
		text += fmt.Sprintf(", seq %d", s.Seq)
	}
	if strings.Contains(p.Flags, ".") {
		text += fmt.Sprintf(", ack %d", s.Ack)
	}
	return fmt.Sprintf("%s, win %d, length %d", text, s.Window, length)
}

// icmpName names the messages that matter; others go by their numbers (RFC 792, RFC 4443).
func icmpName(p *packet.Packet) string {
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
