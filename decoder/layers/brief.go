// SPDX-License-Identifier: Apache-2.0

package layers

import (
	"fmt"
	"net"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// brief says what is in a layer; "" of one that says nothing beyond its name, or whose header others print.
func brief(l gopacket.Layer) string {
	switch l := l.(type) {
	case *layers.ARP:
		return arp(l)
	case *layers.ICMPv6NeighborSolicitation:
		return fmt.Sprintf("neighbor solicitation, who has %v", l.TargetAddress)
	case *layers.ICMPv6NeighborAdvertisement:
		return fmt.Sprintf("neighbor advertisement, %v is at %s", l.TargetAddress, linkAddress(l.Options))
	case *layers.ICMPv6RouterSolicitation:
		return "router solicitation"
	case *layers.ICMPv6RouterAdvertisement:
		return fmt.Sprintf("router advertisement, lifetime %d s", l.RouterLifetime)
	case *layers.ICMPv6Redirect:
		return fmt.Sprintf("redirect, %v by %v", l.DestinationAddress, l.TargetAddress)
	case *layers.IGMP:
		return igmp(l.Version, l.Type, l.GroupAddress)
	case *layers.IGMPv1or2:
		return igmp(l.Version, l.Type, l.GroupAddress)
	case *layers.VRRPv2:
		return fmt.Sprintf("VRRPv%d, router %d, priority %d, addresses %v", l.Version, l.VirtualRtrID, l.Priority, l.IPAddress)
	case *layers.IPSecESP:
		return fmt.Sprintf("ESP, SPI 0x%08x, seq %d", l.SPI, l.Seq)
	case *layers.IPSecAH:
		return fmt.Sprintf("AH, SPI 0x%08x, seq %d", l.SPI, l.Seq)
	case *layers.GRE:
		return "GRE, carries " + EtherType(uint16(l.Protocol))
	case *layers.MPLS:
		return fmt.Sprintf("MPLS, label %d, TTL %d", l.Label, l.TTL)
	case *layers.SCTP:
		return fmt.Sprintf("SCTP, tag 0x%08x", l.VerificationTag)
	case *layers.DHCPv4:
		return dhcp(l)
	case *layers.DHCPv6:
		return fmt.Sprintf("DHCPv6 %v", l.MsgType)
	case *layers.DNS:
		return dns(l)
	case *layers.NTP:
		return fmt.Sprintf("NTPv%d, mode %d, stratum %d", l.Version, l.Mode, l.Stratum)
	case *layers.PPPoE:
		return fmt.Sprintf("PPPoE %v, session %d", l.Code, l.SessionId)
	case *layers.LinkLayerDiscovery:
		return fmt.Sprintf("LLDP, port %q", l.PortID.ID)
	}
	return named(l)
}

// named is the name of a layer whose fields say nothing in brief, "" of those whose headers others print.
func named(l gopacket.Layer) string {
	switch t := l.LayerType(); t {
	case layers.LayerTypeOSPF, layers.LayerTypeSTP, layers.LayerTypeEAPOL, layers.LayerTypeEtherIP, layers.LayerTypeUDPLite, layers.LayerTypeBFD,
		layers.LayerTypeSCTPInit, layers.LayerTypeSCTPInitAck, layers.LayerTypeSCTPData, layers.LayerTypeSCTPSack, layers.LayerTypeSCTPAbort,
		layers.LayerTypeSCTPHeartbeat, layers.LayerTypeSCTPHeartbeatAck, layers.LayerTypeSCTPShutdown, layers.LayerTypeSCTPError:
		return t.String()
	}
	return ""
}

func arp(l *layers.ARP) string {
	const address, mac = 4, 6
	if len(l.SourceProtAddress) != address || len(l.DstProtAddress) != address || len(l.SourceHwAddress) != mac {
		return ""
	}
	if l.Operation == layers.ARPReply {
		return fmt.Sprintf("ARP, Reply %v is-at %s", ip(l.SourceProtAddress), hardware(l.SourceHwAddress))
	}
	return fmt.Sprintf("ARP, Request who-has %v tell %v", ip(l.DstProtAddress), ip(l.SourceProtAddress))
}

// igmp names the message; some names have the version in them.
func igmp(version uint8, kind layers.IGMPType, group net.IP) string {
	name := fmt.Sprintf("IGMPv%d ", version)
	return name + strings.TrimPrefix(kind.String(), name) + " " + group.String()
}

// linkAddress is the option that says what link-layer address a target has (RFC 4861, 4.6.1).
func linkAddress(all layers.ICMPv6Options) string {
	for _, o := range all {
		if o.Type == layers.ICMPv6OptTargetAddress {
			return hardware(o.Data)
		}
	}
	return "an address it does not say"
}

// dhcp is the message's type, and the address that is offered.
func dhcp(l *layers.DHCPv4) string {
	text := "DHCP " + strings.ToLower(l.Operation.String())
	for _, o := range l.Options {
		if o.Type == layers.DHCPOptMessageType && len(o.Data) == 1 {
			text = "DHCP " + strings.ToLower(layers.DHCPMsgType(o.Data[0]).String())
		}
	}
	text += " of " + l.ClientHWAddr.String()
	if l.YourClientIP.IsUnspecified() || len(l.YourClientIP) == 0 {
		return text
	}
	return fmt.Sprintf("%s, address %v", text, l.YourClientIP)
}

// dns is the question, and of an answer its code and how many records it has.
func dns(l *layers.DNS) string {
	text := fmt.Sprintf("DNS %d", l.ID)
	for _, q := range l.Questions {
		text += fmt.Sprintf(" %v? %s", q.Type, printable(q.Name))
	}
	if !l.QR {
		return text
	}
	return fmt.Sprintf("%s, %v, %d answers", text, l.ResponseCode, l.ANCount)
}
