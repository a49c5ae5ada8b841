// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

var corpusEnds = packettest.Ends{Src4: netip.MustParseAddr("10.0.0.1"), Dst4: netip.MustParseAddr("10.0.0.2"),
	Src6: netip.MustParseAddr("fd00::1"), Dst6: netip.MustParseAddr("fd00::2")}

// TestAllReadersAgree: the packet of a record, one that stands alone, and its headers are the same; what the kernel's
// programs make of the same packets is compared where they run.
func TestAllReadersAgree(t *testing.T) {
	for _, s := range packettest.Corpus(corpusEnds) {
		t.Run(s.Name, func(t *testing.T) {
			b := s.Packet(packettest.TTL)
			var h packet.Headers
			alone := packet.ParseIP(b)
			if !h.Parse(b, 0) || alone == nil {
				t.Fatalf("not read: %x", b)
			}
			for name, frame := range map[string]RawFrame{
				"as sent":        {Ethernet: true, Data: packettest.Frame(b)},
				"as received":    {Ethernet: true, Data: packettest.Padded(b)},
				"without a link": {Protocol: map[uint8]uint16{4: packet.EtherIPv4, 6: packet.EtherIPv6}[h.Version], Data: b},
			} {
				frame.Length = uint32(len(frame.Data))
				e, err := Decode(frame.Append(nil))
				if err != nil || e.Packet == nil {
					t.Fatalf("%s: %v", name, err)
				}
				for reader, p := range map[string]*packet.Packet{"ParseIP": alone, "Decode, " + name: e.Packet} {
					got := packet.Headers{Src: p.Src, Dst: p.Dst, Len: p.Len, ID: p.ID, Sport: p.Sport, Dport: p.Dport, Fragment: p.Fragment, More: p.More,
						Version: h.Version, Proto: h.Proto, TTL: p.TTL, TCPFlags: h.TCPFlags, ICMPType: p.ICMPType, ICMPCode: p.ICMPCode, Transport: p.TransportAt, Data: p.DataAt}
					if got != h || p.Proto != packet.ProtoName(h.Proto) || p.Family != packet.FamilyName(h.Version) || p.Flags != packet.FlagsText(h.TCPFlags) {
						t.Errorf("%s: %+v, want %+v", reader, p, h)
					}
				}
			}
		})
	}
}

func FuzzParseIP(f *testing.F) {
	for _, s := range packettest.Corpus(corpusEnds) {
		f.Add(s.Packet(packettest.TTL))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := packet.ParseIP(b)
		if p == nil {
			return
		}
		if !p.Src.IsValid() || !p.Dst.IsValid() || p.Family == "" || p.Proto == "" {
			t.Errorf("%x: %+v", b, p)
		}
		p.Transport()
	})
}

func TestFlowsOfProtocolsWithoutPortsShowNone(t *testing.T) {
	echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: 1}
	icmp := packet.ParseIP(packettest.Build(packettest.IPv4(corpusEnds.Src4, corpusEnds.Dst4, layers.IPProtocolICMPv4), echo))
	if got := icmp.String(); got != "icmp 10.0.0.1 > 10.0.0.2 len 28" {
		t.Errorf("got %s", got)
	}
}
