// SPDX-License-Identifier: Apache-2.0

// Package layers says, for people, what is in a packet beyond the headers that decoder/packet reads: ARP, neighbour
// discovery, DHCP, GRE, IGMP, VRRP, ESP, MPLS, SCTP, DNS and what else github.com/google/gopacket knows. Nothing is concluded
// from it, and packets that are not printed do not pass it: gopacket takes some microseconds a packet.
package layers

import (
	"slices"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

const (
	maxLayers = 16  // of a packet that are shown
	maxLine   = 400 // bytes of a line
)

// decode reads the layers of a packet that begins with its network header, as far as they can be read. gopacket recovers
// from panics of its decoders, which some bad input makes.
func decode(etherType uint16, b []byte) []gopacket.Layer {
	p := gopacket.NewPacket(b, layers.EthernetType(etherType), gopacket.DecodeOptions{NoCopy: true})
	all := p.Layers()
	return all[:min(len(all), maxLayers)]
}

// Text is what a packet carries as tcpdump would say it, in brief: of the innermost layer that says something. It returns ""
// where that is no more than the headers say, or is not known.
func Text(etherType uint16, b []byte) (text string) {
	defer func() {
		if recover() != nil { // a description of what was decoded only in part
			text = ""
		}
	}()
	for _, l := range slices.Backward(decode(etherType, b)) {
		if text := brief(l); text != "" {
			return cut(text)
		}
	}
	return ""
}

// Lines has a line for each layer with its fields, outermost first.
func Lines(etherType uint16, b []byte) []string {
	var all []string
	known := decode(etherType, b)
	for i, l := range known {
		if len(l.LayerContents()) == 0 && i+1 < len(known) && known[i+1].LayerType() == gopacket.LayerTypeDecodeFailure {
			continue // nothing was read of it
		}
		if line := whole(l); line != "" {
			all = append(all, cut(line))
		}
	}
	return all
}

// whole is a layer with its fields, without its bytes; "" of bytes that no layer is known for.
func whole(l gopacket.Layer) (line string) {
	defer func() {
		if recover() != nil {
			line = l.LayerType().String()
		}
	}()
	switch l.LayerType() {
	case gopacket.LayerTypePayload, gopacket.LayerTypeFragment:
		return ""
	case gopacket.LayerTypeDecodeFailure:
		return "the rest is cut off or malformed"
	}
	name, fields, _ := strings.Cut(gopacket.LayerString(l), "\t")
	fields = strings.TrimSuffix(strings.TrimPrefix(fields, "{"), "}")
	for _, bytes := range []string{"Contents=[", "Payload=["} {
		if first, rest, ok := strings.Cut(fields, "] "); ok && strings.HasPrefix(first, bytes) {
			fields = rest
		}
	}
	return name + ": " + fields
}

// cut bounds a line: names and options are what their sender likes.
func cut(s string) string {
	if len(s) <= maxLine {
		return s
	}
	return strings.ToValidUTF8(s[:maxLine], "") + " …"
}
