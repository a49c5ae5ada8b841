// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// frames are whole packets, link header first.
func frames() map[string][]byte {
	pod, server := netip.MustParseAddrPort("10.244.1.2:49153"), netip.MustParseAddr("10.9.0.2")
	syn := packettest.Segment(pod.Port(), 80, packettest.SYN, 1, 0)
	syn.Window = 64240
	syn.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionData: []byte{0x05, 0xb4}}, {OptionType: layers.TCPOptionKindSACKPermitted},
		{OptionType: layers.TCPOptionKindTimestamps, OptionData: make([]byte, 8)}, {OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindWindowScale, OptionData: []byte{7}}}
	echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}
	unreachable := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, layers.ICMPv6CodePortUnreachable)}
	later := packettest.IPv4(pod.Addr(), server, layers.IPProtocolUDP)
	later.FragOffset = 16
	arp := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: []byte{2, 0, 0, 0, 0, 2}, SourceProtAddress: pod.Addr().AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 244, 1, 1}}
	nonsense := packettest.Frame(packettest.Build(packettest.IPv4(pod.Addr(), server, layers.IPProtocolUDP)))[:packet.EtherSize+1]
	nonsense[packet.EtherSize] = 0xf5 // of no version of IP
	return map[string][]byte{
		"syn":      packettest.Frame(packettest.Build(packettest.IPv4(pod.Addr(), server, layers.IPProtocolTCP), syn)),
		"query":    packettest.Frame(packettest.UDP(pod, netip.AddrPortFrom(server, 53), []byte{0xaa, 0xbb, 0xcc, 0xdd, 0xee})),
		"tagged":   packettest.Build(packettest.Ethernet(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 100, Type: layers.EthernetTypeIPv4}, packettest.IPv4(pod.Addr(), server, layers.IPProtocolICMPv4), echo),
		"ipv6":     packettest.Frame(packettest.Build(packettest.IPv6(netip.MustParseAddr("fd00:2440:1::2"), netip.MustParseAddr("fd00:9::2"), layers.IPProtocolICMPv6), unreachable, gopacket.Payload{0, 0, 0, 0})),
		"fragment": packettest.Frame(packettest.Build(later, gopacket.Payload("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"))),
		"arp":      packettest.Build(packettest.Ethernet(layers.EthernetTypeARP), arp),
		"runt":     packettest.Build(packettest.Ethernet(layers.EthernetTypeIPv4))[:10],
		"nonsense": nonsense,
	}
}

func TestFramesReadAsTcpdumpSaysThem(t *testing.T) {
	want := map[string]string{
		"syn":      "IP 10.244.1.2.49153 > 10.9.0.2.80: Flags [S], seq 1, win 64240, length 0",
		"query":    "IP 10.244.1.2.49153 > 10.9.0.2.53: UDP, length 5",
		"tagged":   "IP 10.244.1.2 > 10.9.0.2: ICMP echo request, length 8",
		"ipv6":     "IP6 fd00:2440:1::2 > fd00:9::2: ICMPV6 port unreachable, length 8",
		"fragment": "IP 10.244.1.2 > 10.9.0.2: udp, fragment at 128, length 32",
		"arp":      "ARP, Request who-has 10.244.1.1 tell 10.244.1.2",
		"runt":     "802.3, length 10",
		"nonsense": "IPv4, length 15",
	}
	for name, data := range frames() {
		t.Run(name, func(t *testing.T) {
			f := RawFrame{Time: 5, Netns: 7, Ifindex: 2, Length: uint32(len(data)), Direction: Out, Ethernet: true, Data: data}
			raw := f.Append(nil)
			again, err := DecodeFrame(raw)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Data, data) || again.Netns != 7 || again.Ifindex != 2 || again.Direction != Out || !again.Ethernet {
				t.Errorf("a packet came back as %+v", again)
			}
			e, err := Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Body.Summary(); got != want[name] {
				t.Errorf("got  %s\nwant %s", got, want[name])
			}
		})
	}
}

func FuzzFrame(f *testing.F) {
	for _, data := range frames() {
		f.Add(true, uint16(0), data)
		f.Add(false, uint16(packet.EtherIPv4), data[min(len(data), packet.EtherSize):])
	}
	f.Fuzz(func(t *testing.T, ethernet bool, protocol uint16, data []byte) {
		raw := RawFrame{Length: uint32(len(data)), Ethernet: ethernet, Protocol: protocol, Data: data}.Append(nil)
		e, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if e.Body.Summary() == "" {
			t.Error("nothing to say")
		}
		for cut := range raw {
			if _, err := Decode(raw[:cut]); err == nil {
				t.Fatalf("took %d of %d bytes", cut, len(raw))
			}
		}
	})
}
