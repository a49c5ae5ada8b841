// SPDX-License-Identifier: Apache-2.0

package packettest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Ends are the two ends of a packet, in both families.
type Ends struct {
	Src4, Dst4, Src6, Dst6 netip.Addr
}

// Sample is a packet whose headers are easily misread.
type Sample struct {
	Name   string
	Layers []gopacket.SerializableLayer // the IP header first
}

// Packet is the packet with a TTL.
func (s Sample) Packet(ttl uint8) []byte {
	switch ip := s.Layers[0].(type) {
	case *layers.IPv4:
		ip.TTL = ttl
	case *layers.IPv6:
		ip.HopLimit = ttl
	}
	return Build(s.Layers...)
}

// Corpus are the packets of which every reader of ours, in the kernel and of files, must say the same: those known to be
// hard, and random layers.
func Corpus(e Ends) []Sample {
	all := append(odd4(e), odd6(e)...)
	for seed := range uint64(64) {
		all = append(all, Sample{fmt.Sprint("random ", seed), Random(rand.New(rand.NewPCG(seed, 1)), e)})
	}
	return all
}

// What the samples carry.
var data = gopacket.Payload("0123456789abcdef")

func udp() *layers.UDP { return &layers.UDP{SrcPort: 4000, DstPort: 9} }

func odd4(e Ends) []Sample {
	v4 := func(proto layers.IPProtocol) *layers.IPv4 {
		ip := IPv4(e.Src4, e.Dst4, proto)
		ip.Id = 77
		return ip
	}
	options, first, later := v4(layers.IPProtocolUDP), v4(layers.IPProtocolUDP), v4(layers.IPProtocolUDP)
	for range 8 {
		options.Options = append(options.Options, layers.IPv4Option{OptionType: 1})
	}
	first.Flags = layers.IPv4MoreFragments
	later.FragOffset = 185
	tcp := Segment(4000, 9, SYN, 0, 0)
	tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop}}
	list := func(all ...gopacket.SerializableLayer) []gopacket.SerializableLayer { return all }
	return []Sample{
		{"options of IPv4", list(options, udp(), data)},
		{"the first fragment", list(first, udp(), data)},
		{"a later fragment", list(later, data)},
		{"options of TCP", list(v4(layers.IPProtocolTCP), tcp, data)},
		{"source quench", list(v4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeSourceQuench, 0)}, data)},
		{"SCTP", list(v4(layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 4000, DstPort: 9}, data)},
		{"the end within the transport's header", list(v4(layers.IPProtocolUDP), data[:7])},
		{"nothing but a header", list(v4(layers.IPProtocolTCP))},
		{"a protocol of few bytes", list(v4(253), data[:1])},
	}
}

func odd6(e Ends) []Sample {
	var all []Sample
	for _, n := range []int{1, 5, 6, 8} {
		s := Sample{fmt.Sprint(n, " extension headers"), []gopacket.SerializableLayer{IPv6(e.Src6, e.Dst6, layers.IPProtocolIPv6Destination)}}
		for range n - 1 {
			s.Layers = append(s.Layers, Extension(layers.IPProtocolIPv6Destination, 0))
		}
		all = append(all, Sample{s.Name, append(s.Layers, Extension(layers.IPProtocolUDP, 0), udp(), data)})
	}
	fragment := func(offset uint16) []gopacket.SerializableLayer {
		ip := IPv6(e.Src6, e.Dst6, layers.IPProtocolIPv6Fragment)
		return []gopacket.SerializableLayer{ip, FragmentHeader(layers.IPProtocolUDP, offset, true, 77), udp(), data}
	}
	return append(all, Sample{"the first IPv6 fragment", fragment(0)}, Sample{"a later IPv6 fragment", fragment(1480)})
}

// Extension is a header of destination options with nothing but padding, of 8 bytes and units times 8 more (RFC 8200,
// section 4.6).
func Extension(next layers.IPProtocol, units int) *layers.IPv6Destination {
	pad := &layers.IPv6DestinationOption{OptionType: 1, OptionLength: uint8(4 + 8*units), OptionData: make([]byte, 4+8*units)}
	x := &layers.IPv6Destination{Options: []*layers.IPv6DestinationOption{pad}}
	x.NextHeader = next
	return x
}

// Random are the layers of a packet of random headers.
func Random(r *rand.Rand, e Ends) []gopacket.SerializableLayer {
	payload := make(gopacket.Payload, r.IntN(40))
	transports := []struct {
		proto layers.IPProtocol
		layer gopacket.SerializableLayer
	}{
		{layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(r.Uint32()), DstPort: layers.UDPPort(r.Uint32())}},
		{layers.IPProtocolTCP, &layers.TCP{SrcPort: layers.TCPPort(r.Uint32()), DstPort: layers.TCPPort(r.Uint32()), SYN: r.IntN(2) == 0, ACK: r.IntN(2) == 0,
			FIN: r.IntN(2) == 0, CWR: r.IntN(2) == 0, Options: make([]layers.TCPOption, r.IntN(5))}},
		{layers.IPProtocolSCTP, &layers.SCTP{SrcPort: layers.SCTPPort(r.Uint32()), DstPort: layers.SCTPPort(r.Uint32())}},
		{layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.ICMPv4TypeCode(r.Uint32())}},
		{layers.IPProtocolGRE, &layers.GRE{Protocol: layers.EthernetTypeIPv4}},
	}
	x := transports[r.IntN(len(transports))]
	if r.IntN(2) == 0 {
		ip := IPv4(e.Src4, e.Dst4, x.proto)
		ip.Id, ip.TTL, ip.FragOffset = uint16(r.Uint32()), uint8(r.Uint32()), uint16(r.IntN(2))*uint16(r.IntN(1<<13))
		ip.Flags = layers.IPv4Flag(r.IntN(4))
		for range r.IntN(10) {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1})
		}
		return []gopacket.SerializableLayer{ip, x.layer, payload}
	}
	ip := IPv6(e.Src6, e.Dst6, x.proto)
	all := []gopacket.SerializableLayer{ip}
	next := &ip.NextHeader
	for range r.IntN(4) {
		ext := Extension(x.proto, r.IntN(3))
		*next, next = layers.IPProtocolIPv6Destination, &ext.NextHeader
		all = append(all, ext)
	}
	return append(all, x.layer, payload)
}
