// SPDX-License-Identifier: Apache-2.0

package pcapfilter_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"ktrace/decoder/packet/packettest"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
)

// TestDecideIsMatchAsFarAsThePacketIsKnown hides every packet's bytes, more and more of them: of what is all known the
// verdict is Match's, and of the rest it never contradicts it.
func TestDecideIsMatchAsFarAsThePacketIsKnown(t *testing.T) {
	certain, all := 0, 0
	for _, text := range filtertest.Expressions() {
		e, err := pcapfilter.Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		p, err := e.Compile(pcapfilter.LinkNetwork)
		if err != nil {
			continue // asks for a link header
		}
		for i, pkt := range filtertest.Packets() {
			whole := pcapfilter.Packet{
				Data: pkt.Data[14:], Length: len(pkt.Data) - 14, Protocol: binary.BigEndian.Uint16(pkt.Data[12:]), Direction: pcapfilter.Inbound,
			}
			want := pcapfilter.No
			if p.Match(whole) {
				want = pcapfilter.Yes
			}
			if got := p.Decide(pcapfilter.Partial{Packet: whole}); got != want {
				t.Fatalf("%q on %s: %v, want %v", text, pkt.Name, got, want)
			}
			got := p.Decide(hidden(whole, i))
			if got != want && got != pcapfilter.Unknown {
				t.Fatalf("%q on %s, known in part: %v, but Match says %v", text, pkt.Name, got, want)
			}
			all++
			if got != pcapfilter.Unknown {
				certain++
			}
		}
	}
	t.Logf("%d of %d packets known in part are decided", certain, all)
	if certain*10 < all {
		t.Error("next to nothing is decided")
	}
}

// hidden is a packet of which not all is known: cut short, without single bytes, or only as bytes. What is not known
// is wrong.
func hidden(p pcapfilter.Packet, n int) pcapfilter.Partial {
	part := pcapfilter.Partial{Packet: p, Bare: n%5 == 0}
	data := append([]byte(nil), p.Data[:len(p.Data)*(n%4+1)/4]...)
	part.Known = make([]byte, len(data))
	for i := range data {
		part.Known[i] = 0xff
		if (i+n)%(n%9+3) == 0 {
			part.Known[i] = 0xf0
			data[i] ^= 0x05
		}
	}
	part.Data = data
	if part.Bare {
		part.Length, part.Direction = 1, pcapfilter.Outbound
	}
	return part
}

func TestWhatAFlowDecides(t *testing.T) {
	// What is known of a TCP packet is its flow.
	header := packettest.TCP(netip.MustParseAddrPort("10.0.0.1:1234"), netip.MustParseAddrPort("10.0.0.2:80"), 0, 0, 0, nil)[:24]
	known := make([]byte, 24)
	copy(known, []byte{0xff, 6: 0x1f, 7: 0xff, 9: 0xff})
	for i := 12; i < 24; i++ {
		known[i] = 0xff
	}
	flow := pcapfilter.Partial{Packet: pcapfilter.Packet{Data: header, Protocol: 0x800}, Known: known, Bare: true}
	for text, want := range map[string]pcapfilter.Verdict{
		"tcp port 80 and host 10.0.0.1": pcapfilter.Yes,
		"ip":                            pcapfilter.Yes,
		"src net 10.0.0.0/8":            pcapfilter.Yes,
		"dst portrange 79-81":           pcapfilter.Yes,
		"ip proto 6":                    pcapfilter.Yes,
		"udp":                           pcapfilter.No,
		"ip6":                           pcapfilter.No,
		"arp":                           pcapfilter.No,
		"src port 80":                   pcapfilter.No,
		"udp and len > 100":             pcapfilter.No,
		"not tcp":                       pcapfilter.No,
		"tcp[tcpflags] & tcp-syn != 0":  pcapfilter.Unknown,
		"len > 100":                     pcapfilter.Unknown,
		"inbound":                       pcapfilter.Unknown,
		"ifindex 3":                     pcapfilter.Unknown,
		"ip[8] > 10":                    pcapfilter.Unknown,
		"port 80 or ip[8] > 10":         pcapfilter.Yes,
	} {
		e, err := pcapfilter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Compile(pcapfilter.LinkNetwork)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Decide(flow); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
