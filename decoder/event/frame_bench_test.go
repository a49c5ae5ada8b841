// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"testing"

	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// segmentFrame is a frame with a segment of a size that is common.
func segmentFrame() []byte {
	return packettest.Frame(packettest.TCP(netip.MustParseAddrPort("10.244.1.2:40001"), netip.MustParseAddrPort("10.96.0.10:80"), packettest.ACK, 1, 1, make([]byte, 512)))
}

// BenchmarkDecodeFrame is what a packet of a capture costs, decoded into an event that is there, as Stream does it.
func BenchmarkDecodeFrame(b *testing.B) {
	b.ReportAllocs()
	data := segmentFrame()
	raw := RawFrame{Length: uint32(len(data)), Ethernet: true, Data: data}.Append(nil)
	var e Event
	for b.Loop() {
		if err := DecodeInto(&e, raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseIP is what the headers of a packet cost that is kept.
func BenchmarkParseIP(b *testing.B) {
	b.ReportAllocs()
	data := segmentFrame()[packettest.EtherSize:]
	for b.Loop() {
		if packet.ParseIP(data) == nil {
			b.Fatal("not read")
		}
	}
}
