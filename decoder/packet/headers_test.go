// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet/packettest"
)

var ends = packettest.Ends{Src4: netip.MustParseAddr("10.9.0.1"), Dst4: netip.MustParseAddr("10.96.0.10"),
	Src6: netip.MustParseAddr("fd00:9::1"), Dst6: netip.MustParseAddr("fd00:96::a")}

func v4(proto layers.IPProtocol) *layers.IPv4 {
	ip := packettest.IPv4(ends.Src4, ends.Dst4, proto)
	ip.TTL, ip.Id = 63, 7
	return ip
}

func v6(next layers.IPProtocol) *layers.IPv6 {
	ip := packettest.IPv6(ends.Src6, ends.Dst6, next)
	ip.HopLimit = 63
	return ip
}

func TestParse(t *testing.T) {
	options := v4(layers.IPProtocolUDP)
	options.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 11, OptionData: make([]byte, 9)}, {OptionType: 0}}
	later := v4(layers.IPProtocolUDP)
	later.FragOffset, later.Flags = 185, layers.IPv4MoreFragments
	data := gopacket.Payload("hello")
	udp := &layers.UDP{SrcPort: 4000, DstPort: 53}
	for _, tt := range []struct {
		name  string
		bytes []byte
		want  Headers
	}{
		{"UDP over IPv4", packettest.Build(v4(layers.IPProtocolUDP), udp, data), Headers{Proto: UDP, Version: 4, TTL: 63, ID: 7, Sport: 4000, Dport: 53, Len: 33, Transport: 20, Data: 28}},
		{"options of IPv4", packettest.Build(options, udp, data), Headers{Proto: UDP, Version: 4, TTL: 63, ID: 7, Sport: 4000, Dport: 53, Len: 45, Transport: 32, Data: 40}},
		{"a later fragment", packettest.Build(later, data), Headers{Proto: UDP, Version: 4, TTL: 63, ID: 7, Fragment: 1480, More: true, Len: 25, Transport: 20, Data: 20}},
		{"TCP with options", packettest.Build(v6(layers.IPProtocolTCP), &layers.TCP{SrcPort: 4000, DstPort: 80, SYN: true, Options: []layers.TCPOption{{OptionType: 2, OptionLength: 4, OptionData: []byte{5, 180}}}}, data),
			Headers{Proto: TCP, Version: 6, TTL: 63, Sport: 4000, Dport: 80, TCPFlags: 2, Len: 69, Transport: 40, Data: 64}},
		{"destination options before UDP", packettest.Build(v6(layers.IPProtocolIPv6Destination), packettest.Extension(layers.IPProtocolUDP, 0), udp, data),
			Headers{Proto: UDP, Version: 6, TTL: 63, Sport: 4000, Dport: 53, Len: 61, Transport: 48, Data: 56}},
		{"source quench", packettest.Build(v4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(4, 0)}, data),
			Headers{Proto: ICMP, Version: 4, TTL: 63, ID: 7, ICMPType: 4, Len: 33, Transport: 20, Data: 28}},
		{"SCTP", packettest.Build(v4(layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 4000, DstPort: 3868}, data),
			Headers{Proto: SCTP, Version: 4, TTL: 63, ID: 7, Sport: 4000, Dport: 3868, Len: 37, Transport: 20, Data: 32}},
		{"ESP", packettest.Build(v4(layers.IPProtocolESP), data), Headers{Proto: 50, Version: 4, TTL: 63, ID: 7, Len: 25, Transport: 20, Data: 20}},
		{"cut in the transport's header", packettest.Build(v4(layers.IPProtocolUDP), udp)[:27], Headers{Proto: UDP, Version: 4, TTL: 63, ID: 7, Len: 28, Transport: 20, Data: 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			want.Src, want.Dst = ends.Src4, ends.Dst4
			if want.Version == 6 {
				want.Src, want.Dst = ends.Src6, ends.Dst6
			}
			h := Headers{ICMPCode: 9, More: true} // of the packet before
			if !h.Parse(tt.bytes, want.Len) || h != want {
				t.Errorf("on the wire: %+v\nwant %+v", h, want)
			}
			if !h.Parse(append(tt.bytes[:len(tt.bytes):len(tt.bytes)], make([]byte, 13)...), want.Len+13) || h != want && len(tt.bytes) >= int(want.Len) {
				t.Errorf("padded: %+v\nwant %+v", h, want)
			}
			if !h.Parse(tt.bytes, 0) || h != want {
				t.Errorf("quoted: %+v\nwant %+v", h, want)
			}
		})
	}
}

func TestParseRefusesWhatIsNoIP(t *testing.T) {
	short := packettest.Build(v4(layers.IPProtocolUDP), &layers.UDP{})
	noHeader := bytes.Clone(short)
	noHeader[0] = 0x44 // a header of 16 bytes
	for _, b := range [][]byte{nil, short[:1], short[:19], packettest.Build(v6(59))[:39], noHeader, make([]byte, 64)} {
		h := Headers{Len: 3}
		if h.Parse(b, uint32(len(b))) || h != (Headers{}) {
			t.Errorf("%x is taken for %+v", b, h)
		}
	}
}

// TestParseAgreesWithGopacket: on what gopacket makes of random layers, by seed.
func TestParseAgreesWithGopacket(t *testing.T) {
	for seed := range uint64(2000) {
		b := packettest.Build(packettest.Random(rand.New(rand.NewPCG(seed, 1)), ends)...)
		compare(t, b)
		if t.Failed() {
			t.Fatalf("seed %d: %x", seed, b)
		}
	}
}

func FuzzParseAgreesWithGopacket(f *testing.F) {
	for _, s := range packettest.Corpus(ends) {
		f.Add(s.Packet(packettest.TTL))
	}
	f.Fuzz(func(t *testing.T, b []byte) { compare(t, b) })
}

// compare checks that both read the same, where gopacket reads all layers without an error.
func compare(t *testing.T, b []byte) {
	t.Helper()
	var h Headers
	known := h.Parse(b, uint32(len(b)))
	if !known || isExtension(h.Proto) { // more of them than are looked behind
		return
	}
	if h.Transport > h.Data || h.Len > uint32(len(b)) {
		t.Fatalf("impossible: %+v of %d bytes", h, len(b))
	}
	first := layers.LayerTypeIPv4
	if h.Version == 6 {
		first = layers.LayerTypeIPv6
	}
	// Without the link's padding: gopacket reads on in it behind hop-by-hop options. It recovers from its decoders' panics.
	p := gopacket.NewPacket(h.Taken(b), first, gopacket.DecodeOptions{})
	if p.ErrorLayer() != nil || p.NetworkLayer() == nil || p.TransportLayer() == nil || !direct(p) {
		return
	}
	flow := p.NetworkLayer().NetworkFlow()
	if !bytes.Equal(flow.Src().Raw(), h.Src.AsSlice()) || !bytes.Equal(flow.Dst().Raw(), h.Dst.AsSlice()) {
		t.Errorf("%v > %v, gopacket says %v", h.Src, h.Dst, flow)
	}
	var src, dst uint16
	var flags uint8
	switch l := p.TransportLayer().(type) {
	case *layers.UDP:
		src, dst = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.TCP:
		src, dst, flags = uint16(l.SrcPort), uint16(l.DstPort), l.Contents[13]
	case *layers.SCTP:
		src, dst = uint16(l.SrcPort), uint16(l.DstPort)
	default:
		return
	}
	if src != h.Sport || dst != h.Dport || flags != h.TCPFlags {
		t.Errorf("ports %d > %d flags %x, gopacket says %d > %d %x", h.Sport, h.Dport, h.TCPFlags, src, dst, flags)
	}
	payload := p.TransportLayer().LayerPayload()
	if h.Proto != UDP && len(payload) > 0 && len(payload) != int(h.Len)-int(h.Data) { // of UDP, it believes its own length
		t.Errorf("carries %d bytes, gopacket says %d", int(h.Len)-int(h.Data), len(payload))
	}
}

// direct reports whether the transport that gopacket found is that of the outer packet: it looks into tunnels, too, and
// behind an authentication header.
func direct(p gopacket.Packet) bool {
	for _, l := range p.Layers()[1:] {
		switch l.LayerType() {
		case layers.LayerTypeIPv6HopByHop, layers.LayerTypeIPv6Routing, layers.LayerTypeIPv6Fragment, layers.LayerTypeIPv6Destination:
			continue
		}
		return l.LayerType() == p.TransportLayer().LayerType()
	}
	return false
}

func BenchmarkParse(b *testing.B) {
	tcp := &layers.TCP{SrcPort: 4000, DstPort: 80, ACK: true}
	for name, packet := range map[string][]byte{
		"IPv4": packettest.Build(v4(layers.IPProtocolTCP), tcp, gopacket.Payload("hello")),
		"IPv6": packettest.Build(v6(layers.IPProtocolTCP), tcp, gopacket.Payload("hello")),
	} {
		b.Run(name, func(b *testing.B) {
			var h Headers
			for b.Loop() {
				h.Parse(packet, uint32(len(packet)))
			}
		})
	}
}

// BenchmarkGopacket is what the same costs by gopacket's parser for layers that are used again.
func BenchmarkGopacket(b *testing.B) {
	packet := packettest.Build(v4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 4000, DstPort: 80, ACK: true}, gopacket.Payload("hello"))
	var ip layers.IPv4
	var tcp layers.TCP
	var payload gopacket.Payload
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip, &tcp, &payload)
	var found []gopacket.LayerType
	for b.Loop() {
		if err := parser.DecodeLayers(packet, &found); err != nil {
			b.Fatal(err)
		}
	}
}
